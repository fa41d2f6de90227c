"""The Python client says of the API what the API says of itself."""

from tools.generate_client import DIRECTORY, generated


def test_the_generated_modules_are_up_to_date() -> None:
    for name, text in generated().items():
        assert (DIRECTORY / name).read_text() == text, "run: python -m tools.generate_client"
