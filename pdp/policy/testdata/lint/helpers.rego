package helpers

is_refund(name) if name == "create_refund"

refunds(tool) if tool.name == "create_refund"

refund_tool if input.tool.name == "create_refund"
