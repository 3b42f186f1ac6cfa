"""`POST /oauth/device_authorization` (RFC 8628, section 3.1): a device asks to be signed in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from domain.errors import InputError, RateLimitedError, TokenRequestError, UpstreamFaultError
from domain.redaction import Redaction
from domain.sessions import Device, DeviceAuthorization, Origin, shown_code
from services.tokens.codes import hash_of, hash_of_user_code, new_device_code, new_user_code
from services.tokens.parameters import parameters_of, require_client, require_no_scope
from state.database import Database
from state.device_codes import DeviceCodes
from state.rates import RatePolicy, Rates
from state.root import Root

CODE_SECONDS = 600
INTERVAL_SECONDS = 5
_OF_A_NETWORK = RatePolicy("signins", 30)
"""An office has one address, and a lecture hall, too."""
_IN_ALL = RatePolicy("signins", 300)
_ALL = "of all networks"
_MOST_DRAWS = 5


@dataclass(frozen=True, kw_only=True)
class AuthorizeDevice:
    """Gives codes to devices.

    `service_url` is the address of this service, None if nobody said it, and `has_catalog` whether the catalog can be
    asked. Without either there is no sign-in.
    """

    service_url: str | None
    has_catalog: bool
    clients: Collection[str]
    database: Database
    codes: DeviceCodes
    rates: Rates
    root: Root
    redaction: Redaction

    async def __call__(self, given: Mapping[str, object], origin: Origin) -> DeviceAuthorization:
        """The codes. Raises TokenRequestError, InputError, RateLimitedError, UpstreamError."""
        parameters = parameters_of(given)
        client = require_client(self.clients, parameters)
        require_no_scope(parameters)
        if self.service_url is None or not self.has_catalog:
            missing = "litellmOrchestrator.publicUrl" if self.service_url is None else "backstage.catalogToken"
            raise TokenRequestError(
                "unauthorized_client", f"No device is signed in here: the operator has to set {missing}"
            )
        name, tool = (self._words(parameters, name) for name in ("device_name", "tool"))
        address = None if origin.address is None else str(origin.address)
        device_code, user_code = await self._recorded(Device(client, name, tool, address), origin)
        page, shown = f"{self.service_url}/console#/devices", shown_code(user_code)
        return DeviceAuthorization(device_code, shown, page, f"{page}/{shown}", CODE_SECONDS, INTERVAL_SECONDS)

    async def _recorded(self, device: Device, origin: Origin) -> tuple[str, str]:
        device_code, device_times = new_device_code(), {"life": CODE_SECONDS, "interval": INTERVAL_SECONDS}
        drawn = [new_user_code() for _ in range(_MOST_DRAWS)]
        hashes = [await hash_of_user_code(self.root, code) for code in drawn]
        async with self.database.transaction() as connection:
            for policy, subject in ((_OF_A_NETWORK, origin.network), (_IN_ALL, _ALL)):
                if (rate := await self.rates.take(connection, policy, subject)).retry_after:
                    raise RateLimitedError(rate)
            for user_code, user_hash in zip(drawn, hashes, strict=True):
                if await self.codes.add(connection, hash_of(device_code), user_hash, device, **device_times):
                    return device_code, user_code
        raise UpstreamFaultError("No free code was found")

    def _words(self, parameters: Mapping[str, str], name: str) -> str | None:
        """What the device says of itself, for the person who decides: nothing that could look like something else."""
        words = parameters.get(name, "").strip()
        if not words.isprintable():
            raise InputError(f"{name} must be printable")
        return self.redaction.text(words) or None
