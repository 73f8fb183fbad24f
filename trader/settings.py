"""Django's settings, derived from the one declared list in `trader/config`."""

import gc
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from csp.constants import NONE, SELF

from trader.config import config

# what apps make while they are imported stays: looking through it again and again is a fifth of a start. Where Django
# has set all of them up, `trader.runtime`, the last one, turns collecting on again
gc.disable()

BASE_DIR = Path(__file__).resolve().parents[1]
STATE_DIR = config.runtime.state_dir


def _secret(name: str) -> str:
    """Return the key in its own file of mode 600; `up` makes it on the first run."""
    from trader.runtime.keys import key_read

    return key_read(STATE_DIR, name)


def _static_version() -> str:
    """Return what names this state of scripts and styles: ours by their bytes, others' by their pinned versions."""
    digest = sha256((BASE_DIR / "requirements.txt").read_bytes())
    for path in sorted(path for path in (BASE_DIR / "static").rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(BASE_DIR)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _database(url: str) -> dict[str, object]:
    """Translate `postgresql://user@/name?host=/folder` or `…@host:port/name` for Django."""
    parts = urlsplit(url or "postgresql://quarterdeck@127.0.0.1:1/quarterdeck")
    query = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")) or "quarterdeck",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(query.pop("host", "") or parts.hostname or ""),
        "PORT": str(parts.port or query.pop("port", "") or ""),
        "CONN_HEALTH_CHECKS": True,
        "CONN_MAX_AGE": 60,
        "OPTIONS": {"connect_timeout": 5, **query},
    }


SECRET_KEY = _secret("secret.key")
DEBUG = config.runtime.debug
ALLOWED_HOSTS = config.runtime.allowed_hosts
INTERNAL_IPS: list[str] = []

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin.apps.SimpleAdminConfig",  # trader.urls loads its pages: workers and commands have none
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "channels",
    "django_htmx",
    "axes",
    "csp",
    "django_celery_beat",
    "apps.common",
    "apps.users",
    "apps.market",
    "apps.simulator",
    "apps.features",
    "apps.annotations",
    "apps.portfolio",
    "apps.scanners",
    "apps.learning",
    "apps.strategies",
    "apps.risk",
    "apps.execution",
    "apps.backtesting",
    "apps.monitoring",
    "apps.dashboard",
    "trader.runtime",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "csp.middleware.CSPMiddleware",
    "apps.dashboard.middleware.AdminPolicyMiddleware",
    "apps.users.middleware.IdentityMiddleware",
    "apps.users.middleware.SignInRequiredMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "trader.urls"
ASGI_APPLICATION = "trader.asgi.application"
WEBSOCKET_URLPATTERNS = "apps.common.routing.websocket_urlpatterns"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "apps.dashboard.context.shell",
            ],
        },
    },
]

DATABASES = {"default": _database(config.runtime.database_url)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
REDIS_URL = config.runtime.redis_url
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        # redis-py's default socket timeout equals the layer's blocking read: random sockets die with it
        "CONFIG": {
            "hosts": [
                {"address": REDIS_URL or "redis://127.0.0.1:1/0", "socket_timeout": None, "max_connections": 2000}
            ]
        },
    },
}

AUTH_USER_MODEL = "users.User"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "users:sign-in"
LOGIN_REDIRECT_URL = "dashboard:desk"
LOGOUT_REDIRECT_URL = "users:sign-in"
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_LOCKOUT_CALLABLE = "apps.users.views.locked_out"
AXES_RESET_ON_SUCCESS = True

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
# another state of the files has another address (relative imports keep it), so a browser may keep what it has for good
STATIC_URL = f"/static/{_static_version()}/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "apps.dashboard.finders.VendorFinder",
]

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = config.runtime.behind_proxy
MESSAGE_STORAGE = "django.contrib.messages.storage.cookie.CookieStorage"  # a page without the database has them too
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
X_FRAME_OPTIONS = "DENY"
if config.runtime.behind_proxy:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]  # probes ask the process, not the proxy
    SECURE_HSTS_SECONDS = 365 * 86_400
# to speak for somebody's whole domain, other hosts included, is not ours
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

UNFOLD = {
    "SITE_TITLE": "Quarterdeck admin",
    "SITE_HEADER": "Quarterdeck",
    "SITE_SUBHEADER": "Admin",
    "SITE_URL": "/",
    "SITE_SYMBOL": "explore",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": f"{STATIC_URL}img/mark.svg"}],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "STYLES": [f"{STATIC_URL}css/{name}.css" for name in ("tokens", "kill", "admin")],
    "BORDER_RADIUS": "6px",
    "COLORS": {
        "base": {
            "50": "#f3f5f8",
            "100": "#eef2f6",
            "200": "#dce2ea",
            "300": "#c2cbd7",
            "400": "#8a97a7",
            "500": "#5a6677",
            "600": "#515d6d",
            "700": "#252e3a",
            "800": "#1a212b",
            "900": "#12171e",
            "950": "#0b0e13",
        },
        "primary": {
            "50": "#fdf7e9",
            "100": "#faecc9",
            "200": "#f4da97",
            "300": "#edc565",
            "400": "#e2ad4b",
            "500": "#d29a34",
            "600": "#a97413",
            "700": "#8a5d00",
            "800": "#6d4a05",
            "900": "#563b09",
            "950": "#301f02",
        },
    },
    "SIDEBAR": {"show_search": True, "show_all_applications": False, "navigation": "apps.dashboard.admin_menu.menu"},
}

LOGGING_CONFIG = None
