"""What a signature costs, beside the least that it could."""
