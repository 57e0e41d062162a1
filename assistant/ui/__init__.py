"""The screen: the only place that knows rich, questionary and prompt_toolkit."""
