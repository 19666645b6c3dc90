"""How is a container of Azure's blob storage opened?

`az://container/folder`; AZURE_STORAGE_ACCOUNT_NAME names the account. obstore finds credentials in the
environment or those of the machine, else those of the `az` command.
"""

import shutil
from typing import Any

from strategies.packages import exact_version
from trainer.storage.remote import environment
from trainer.storage.remote.address import Address
from trainer.storage.remote.errors import Faults
from trainer.storage.remote.obstore_bucket import ObstoreBucket

_MAX_BYTES = 5000 << 20  # Of one request. An upload in parts would have no condition.
_ACCOUNT = ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT")
# obstore finds credentials by these itself.
_IN_ENVIRONMENT = (
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_STORAGE_USE_EMULATOR",
    "AZURE_USE_AZURE_CLI",
    "AZURE_SKIP_SIGNATURE",
)
_IDENTITY = ("AZURE_MSI_ENDPOINT", "AZURE_IDENTITY_ENDPOINT", "IDENTITY_ENDPOINT")
_ENDPOINT = ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")
_PERMISSIONS = ("to write blobs", "to delete blobs")


def open_bucket(address: Address) -> ObstoreBucket:
    """The folder. Makes no call yet. Raises BucketError if obstore is not installed."""
    faults = Faults(
        address,
        "Azure",
        "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or run `az login`, or give the "
        "machine a managed identity",
        "the role Storage Blob Data Contributor",
    )
    if not exact_version("obstore"):
        raise faults.missing_package("obstore", "az")

    def open_store(client: dict[str, Any], retry: dict[str, Any]) -> Any:
        from obstore.store import AzureStore

        settings: dict[str, Any] = {"client_options": client, "retry_config": retry}
        is_emulated = bool(environment.first("AZURE_STORAGE_USE_EMULATOR"))
        if not is_emulated and not environment.first(*_ACCOUNT):
            raise faults.no_credentials("no name of a storage account")
        url = environment.endpoint(faults, *_ENDPOINT)
        client["allow_http"] = is_emulated or url.startswith("http://")
        if not environment.first(*_IN_ENVIRONMENT):
            if shutil.which("az"):
                settings["use_azure_cli"] = True
            else:
                environment.require_identity(faults, *_IDENTITY)
        return AzureStore(
            address.bucket,
            prefix=address.folder,
            **settings,
        )

    return ObstoreBucket(address, faults, open_store, _PERMISSIONS, _MAX_BYTES)
