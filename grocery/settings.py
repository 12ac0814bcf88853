"""Where things run and lie. One class; every setting can be given as GROCERY_<NAME> in the environment.

Lower rooms (ingestion, alerting, streaming_jobs, batch_jobs) never read settings: the command line hands them values.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="GROCERY_", extra="ignore")

    home: Path = Field(PROJECT / ".grocery", description="Everything the project makes lies under this folder.")
    workspace: str = Field(
        "main", description="Stack, lake, gold and logs lie in <home>/<workspace>; the demo's is `demo`."
    )
    chain: Path = Field(PROJECT / "chain", description="The chain's own facts and wishes: stores, assets, rules.")
    schemas: Path | None = Field(None, description="Contracts of the chain's own, beside those in schemas/.")
    kafka: str | None = Field(None, description="Bootstrap servers; without it, those of the running local stack.")
    lake: str | None = Field(None, description="Folder or s3a:// address of the lake; default <work>/lake.")
    landing: str | None = Field(
        None,
        description="Folder or s3a:// address where Firehose lands files, each topic's in a folder of its own.",
    )
    glue_prefix: str = Field(
        "grocery", description="What the names of the lake's databases in the Glue catalog begin with."
    )
    actor: str | None = Field(
        None, description="Who gives commands for alerts: a role or work number, never a name; --as goes before it."
    )
    pseudonym_key: SecretStr | None = Field(None, description="Pseudonym key; default: made once in <home>/keys.")
    dead_letter_key: SecretStr | None = Field(None, description="Fernet key; default: made once in <home>/keys.")

    @property
    def venv(self) -> Path:
        return self.home / "venv"

    @property
    def jars(self) -> Path:
        return self.home / "jars"

    @property
    def work(self) -> Path:
        """Folder of this workspace."""
        return self.home / self.workspace

    @property
    def stack_home(self) -> Path:
        """Data, configuration and process ids of the local stack."""
        return self.work / "stack"

    @property
    def logs(self) -> Path:
        return self.work / "logs"

    @property
    def lake_path(self) -> str:
        return self.lake or str(self.work / "lake")

    @property
    def gold_path(self) -> Path:
        """The DuckDB file that dbt builds locally."""
        return self.work / "gold.duckdb"

    @property
    def data_docs(self) -> Path:
        """Great Expectations' Data Docs."""
        return self.work / "data-docs"

    @property
    def dbt_docs(self) -> Path:
        """dbt's documentation of gold."""
        return self.work / "dbt-docs.html"

    @property
    def report_path(self) -> Path:
        return self.work / "report.html"


@cache
def settings() -> Settings:
    return Settings()
