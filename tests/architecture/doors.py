"""A contract for import-linter: an app is entered through its doors only."""

from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class DoorsContract(Contract):
    """Another app may import `apps.x.<door>` and what lies under it, nothing else; `open_apps` are libraries."""

    doors = fields.ListField(subfield=fields.StringField())
    open_apps = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        broken = [
            (importer, imported)
            for importer in sorted(graph.modules)
            if importer.startswith("apps.")
            for imported in sorted(graph.find_modules_directly_imported_by(importer))
            if self._is_forced(importer, imported)
        ]
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for importer, imported in check.metadata["broken"]:
            output.print_error(f"{importer} imports {imported}, which is no door of its app", bold=False)

    def _is_forced(self, importer: str, imported: str) -> bool:
        there = imported.split(".")
        if there[0] != "apps" or len(there) < 2 or there[1] in self._names("open_apps"):
            return False
        if there[1] == importer.split(".")[1]:
            return False
        return len(there) < 3 or there[2] not in self._names("doors")

    def _names(self, field: str) -> set[str]:
        values: Any = getattr(self, field)
        return {str(value) for value in values}
