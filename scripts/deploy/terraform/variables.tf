variable "name" {
  description = "Goes before the name of everything that is made."
  type        = string
  default     = "oblivious-inference"
}

variable "subnet_id" {
  description = "A subnet with a route to the Internet."
  type        = string
}

variable "relays" {
  description = "Networks of the relays in CIDR notation: nobody else reaches the front."
  type        = set(string)

  validation {
    condition     = length(var.relays) > 0 && alltrue([for each in var.relays : can(cidrnetmask(each))])
    error_message = "Name at least one network, such as 192.0.2.0/28."
  }

  validation {
    condition     = alltrue([for each in var.relays : try(tonumber(split("/", each)[1]) >= 8, true)])
    error_message = "That is most of the Internet; the front is for relays only."
  }
}

variable "repository" {
  description = "Where the instance clones this project from."
  type        = string

  validation {
    condition     = can(regex("^https://[0-9A-Za-z._~:/@%+=-]+$", var.repository))
    error_message = "The repository's address begins with https://, and has no character that a shell would read."
  }
}

variable "commit" {
  description = "The release's commit, whole: what install-host is taken from."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{40}$", var.commit))
    error_message = "A commit has 40 hexadecimal digits; branches and tags may move."
  }
}

variable "image_url" {
  description = "Where the instance fetches the enclave image from; its measurements decide."
  type        = string

  validation {
    condition     = can(regex("^https://[0-9A-Za-z._~:/?&@%+=,-]+$", var.image_url))
    error_message = "The image's address begins with https://, and has no character that a shell would read."
  }
}

variable "pcrs" {
  description = "The auditor's measurements of the image, as scripts/build-eif prints them."
  type        = string

  validation {
    condition     = can(regex("\"PCR0\"\\s*:\\s*\"[0-9a-f]{96}\"", var.pcrs))
    error_message = "These are no measurements: give file(\"pcrs.json\")."
  }
}

variable "instance_type" {
  description = "Four processors or more, x86-64, with AVX2 and Nitro Enclaves."
  type        = string
  default     = "c6i.xlarge"
}

variable "enclave_cpus" {
  description = "Processors of the enclave."
  type        = number
  default     = 2

  validation {
    condition     = var.enclave_cpus > 0 && var.enclave_cpus % 2 == 0
    error_message = "An enclave gets whole cores: an even number."
  }
}

variable "enclave_mib" {
  description = "Memory of the enclave."
  type        = number
  default     = 2048
}

variable "ami_parameter" {
  description = "The parameter of AWS Systems Manager that names Amazon Linux 2023."
  type        = string
  default     = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
}

variable "disk_gib" {
  description = "The instance's disk, encrypted."
  type        = number
  default     = 16
}
