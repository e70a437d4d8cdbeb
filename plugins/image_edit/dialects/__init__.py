"""How clients ask, and how they are answered: one module for each of OpenAI's image surfaces."""
