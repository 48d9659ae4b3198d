"""Amazon's Bedrock: Converse and ConverseStream, which are alike for all models there."""
