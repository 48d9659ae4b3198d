output "address" {
  description = "For the front's name in DNS."
  value       = aws_eip.front.public_ip
}

output "session" {
  description = "How to get onto the instance; there is no SSH."
  value       = "aws ssm start-session --target ${aws_instance.host.id}"
}
