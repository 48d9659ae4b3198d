# One host of one enclave: reached by relays on port 443, and by you through Session Manager.

data "aws_subnet" "host" {
  id = var.subnet_id
}

data "aws_ssm_parameter" "ami" {
  name = var.ami_parameter
}

# The role lets Session Manager in and nothing else: the enclave has no credentials of AWS.
data "aws_iam_policy_document" "instance" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "host" {
  name_prefix        = "${var.name}-"
  assume_role_policy = data.aws_iam_policy_document.instance.json
}

resource "aws_iam_role_policy_attachment" "session_manager" {
  role       = aws_iam_role.host.name
  policy_arn = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_instance_profile" "host" {
  name_prefix = "${var.name}-"
  role        = aws_iam_role.host.name
}

resource "aws_security_group" "host" {
  name_prefix = "${var.name}-"
  description = "Relays reach the front"
  vpc_id      = data.aws_subnet.host.vpc_id

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "relay" {
  for_each = var.relays

  security_group_id = aws_security_group.host.id
  description       = "A relay"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

# Packages, Session Manager, the release, and providers where the enclave has ways out to any.
resource "aws_vpc_security_group_egress_rule" "https" {
  security_group_id = aws_security_group.host.id
  description       = "HTTPS"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_launch_template" "host" {
  name_prefix   = "${var.name}-"
  description   = "A host of an enclave"
  image_id      = data.aws_ssm_parameter.ami.value
  instance_type = var.instance_type

  vpc_security_group_ids = [aws_security_group.host.id]
  update_default_version = true

  enclave_options {
    enabled = true
  }

  iam_instance_profile {
    arn = aws_iam_instance_profile.host.arn
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_size           = var.disk_gib
      volume_type           = "gp3"
      encrypted             = true
      delete_on_termination = true
    }
  }

  user_data = base64encode(templatefile("${path.module}/user-data.sh.tftpl", {
    repository   = var.repository
    commit       = var.commit
    image_url    = var.image_url
    pcrs         = base64encode(var.pcrs)
    enclave_cpus = var.enclave_cpus
    enclave_mib  = var.enclave_mib
  }))
}

resource "aws_instance" "host" {
  subnet_id = data.aws_subnet.host.id

  launch_template {
    id      = aws_launch_template.host.id
    version = aws_launch_template.host.latest_version
  }

  tags = {
    Name = var.name
  }

  # A new Amazon Linux would replace the instance, and so the enclave's keys: say it with -replace.
  lifecycle {
    ignore_changes = [launch_template]
  }
}

# The relays' operators configure this address; it stays when the instance is replaced.
resource "aws_eip" "front" {
  domain = "vpc"

  tags = {
    Name = var.name
  }
}

resource "aws_eip_association" "front" {
  allocation_id = aws_eip.front.id
  instance_id   = aws_instance.host.id
}
