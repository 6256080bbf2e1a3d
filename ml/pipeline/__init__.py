"""The pipeline is the product: how it fares itself, and what people are told of it each week."""
