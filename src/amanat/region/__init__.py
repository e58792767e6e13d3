"""Where data rests: what an operator, an auditor or a witness does about it."""
