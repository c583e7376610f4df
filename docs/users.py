"""Docs of `routes/users.py`."""

from docs import EndpointDoc

CREATE_USER: EndpointDoc = {
    "summary": "Register",
    "description": """Creates an account.

A mail with a token goes to the e-mail: redeem it at
`POST /v1/auth/verify-email`. Names are 1 to 64 characters of any script. A password has 10 to 128
characters, and is none of the commonest. An e-mail has one account, whatever
its letters' case.""",
    "response_description": "The new account.",
}

LIST_USERS: EndpointDoc = {
    "summary": "List members",
    "description": "All members, in the order in which they registered. `q` "
    "finds words that begin a part of the name or e-mail.",
}

GET_OWN_USER: EndpointDoc = {
    "summary": "Read your account",
    "description": "The caller's own account, with what others don't see.",
}

UPDATE_OWN_USER: EndpointDoc = {
    "summary": "Change your account",
    "description": """Changes what is sent, and leaves the rest.

A new e-mail or password needs `current_password`. A new e-mail is not verified
any more, and is sent a mail that verifies it. A new password ends all other
logins. Send the ETag of your last read as `If-Match` so as not to
overwrite a change from another device.""",
}

GET_USER: EndpointDoc = {
    "summary": "Read a profile",
    "description": "What everybody may know of a member: no e-mail. Admins get "
    "the whole account. `image_id` is their picture.",
}

ADMINISTER_USER: EndpointDoc = {
    "summary": "Change a member's role or tier, or disable the account",
    "description": """For admins; what is left out stays.

A new role or tier counts at once for the member's living logins. A disabled member is
logged out everywhere, and can't log in; their sessions end. Your own account is changed by another
admin, so that nobody locks themselves out.""",
}
