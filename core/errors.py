"""Errors that a user caused and can mend."""


class UserError(Exception):
    """An error worded for the person who can mend it.

    Parameters
    ----------
    template : str
        English sentence with ``{named}`` places; also the gettext message id.
    **params : object
        Values for the places of ``template``.
    """

    def __init__(self, template: str, **params: object) -> None:
        self.template = template
        self.params = params
        super().__init__(template.format(**params) if params else template)

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders (durable jobs pickle them); the default would lose the params.
        return _rebuild, (self.template, self.params)


def _rebuild(template: str, params: dict[str, object]) -> UserError:
    return UserError(template, **params)
