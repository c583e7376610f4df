"""Auth: log in, stay logged in, log out; what a mail proves."""

from typing import Annotated

from fastapi import (
    APIRouter,
    Form,
    Header,
    Query,
    Request,
    Response,
    status,
)

from docs import auth as docs
from models.base import Page, PageQuery
from models.exceptions import (
    BadCredentialsError,
    EmailTakenError,
    InvalidRequestError,
    InvalidTokenError,
    KeysUnavailableError,
    LoginNotFoundError,
    NotAuthenticatedError,
    NotFoundError,
    TooManyAttemptsError,
    UserNotFoundError,
)
from models.firebase import FirebaseSignIn
from models.logins import LoginForm, LoginRead, RefreshRequest, TokenPair
from models.one_time_tokens import (
    EmailVerification,
    PasswordReset,
    PasswordResetRequest,
)
from routes.dependencies import (
    CurrentUser,
    LoginId,
    client_address,
    user_agent,
)
from routes.problems import COMMON, WITH_BODY, member_problems, problems
from utils import accounts, firebase, logins

router = APIRouter(
    prefix="/v1/auth", tags=["Auth"], responses=problems(*COMMON)
)


@router.post(
    "/login",
    **docs.LOG_IN,
    responses=problems(BadCredentialsError, TooManyAttemptsError, *WITH_BODY),
)
async def log_in(
    form: Annotated[LoginForm, Form()], request: Request
) -> TokenPair:
    return await accounts.log_in(
        form.username,
        form.password.get_secret_value(),
        address=client_address(request),
        client=user_agent(request),
    )


@router.post(
    "/firebase",
    **docs.SIGN_IN_BY_FIREBASE,
    responses=problems(
        BadCredentialsError,
        NotFoundError,
        EmailTakenError,
        TooManyAttemptsError,
        KeysUnavailableError,
        *WITH_BODY,
    ),
)
async def sign_in_by_firebase(
    body: FirebaseSignIn, request: Request
) -> TokenPair:
    return await firebase.sign_in(
        body.id_token,
        firebase=request.app.state.firebase,
        address=client_address(request),
        client=user_agent(request),
    )


@router.post(
    "/refresh",
    **docs.REFRESH,
    responses=problems(NotAuthenticatedError, *WITH_BODY),
)
async def refresh(
    body: RefreshRequest,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=200,
            description="A random text: with it, a call may be repeated.",
        ),
    ] = None,
) -> TokenPair:
    return await logins.refresh(body.refresh_token, retry_key=idempotency_key)


@router.post(
    "/logout",
    status_code=status.HTTP_204_NO_CONTENT,
    **docs.LOG_OUT,
    responses=member_problems(),
)
async def log_out(actor: CurrentUser) -> None:
    await logins.log_out(actor)


@router.post(
    "/logout-all",
    status_code=status.HTTP_204_NO_CONTENT,
    **docs.LOG_OUT_ALL,
    responses=member_problems(),
)
async def log_out_all(actor: CurrentUser) -> None:
    await logins.log_out_all(actor)


@router.get(
    "/validate",
    status_code=status.HTTP_204_NO_CONTENT,
    **docs.VALIDATE,
    responses=member_problems(),
)
async def validate(_actor: CurrentUser) -> None:
    return None


@router.get("/logins", **docs.LIST_LOGINS, responses=member_problems())
async def list_logins(
    query: Annotated[PageQuery, Query()], actor: CurrentUser
) -> Page[LoginRead]:
    return await logins.list_logins(query, actor=actor)


@router.delete(
    "/logins/{login_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    **docs.REVOKE_LOGIN,
    responses=member_problems(LoginNotFoundError),
)
async def revoke_login(login_id: LoginId, actor: CurrentUser) -> None:
    await logins.revoke_own_login(login_id, actor=actor)


@router.post(
    "/verify-email/request",
    status_code=status.HTTP_202_ACCEPTED,
    response_class=Response,
    **docs.REQUEST_EMAIL_VERIFICATION,
    responses=member_problems(UserNotFoundError),
)
async def request_email_verification(actor: CurrentUser) -> None:
    await accounts.request_verification(actor)


@router.post(
    "/verify-email",
    status_code=status.HTTP_204_NO_CONTENT,
    **docs.VERIFY_EMAIL,
    responses=problems(InvalidRequestError, InvalidTokenError, *WITH_BODY),
)
async def verify_email(body: EmailVerification) -> None:
    await accounts.verify_email(body)


@router.post(
    "/password-reset/request",
    status_code=status.HTTP_202_ACCEPTED,
    response_class=Response,
    **docs.REQUEST_PASSWORD_RESET,
    responses=problems(*WITH_BODY),
)
async def request_password_reset(
    body: PasswordResetRequest, request: Request
) -> None:
    await accounts.request_password_reset(body, address=client_address(request))


@router.post(
    "/password-reset",
    status_code=status.HTTP_204_NO_CONTENT,
    **docs.RESET_PASSWORD,
    responses=problems(InvalidRequestError, InvalidTokenError, *WITH_BODY),
)
async def reset_password(body: PasswordReset) -> None:
    await accounts.reset_password(body)
