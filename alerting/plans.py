"""What concerns one device: its rules as they hold for it, and whom it stands beside."""

from __future__ import annotations

from dataclasses import dataclass

from alerting.attention import slug
from alerting.language import STATE_METRICS, Rule
from alerting.limits import Judge, judge_of
from alerting.rules import RuleSet
from alerting.state import Device, Store


@dataclass(frozen=True, slots=True)
class Plan:
    """What concerns one device: its rules as they hold for it. calm_from..calm_to: values that breach nothing.
    stuck: the shortest first. idle: no rule and no mask is about it. each: some rule looks at every reading."""

    judges: tuple[Judge, ...]
    rates: tuple[Judge, ...]
    stuck: tuple[Rule, ...]
    bad: tuple[Rule, ...]
    absences: tuple[Rule, ...]
    groups: tuple[Rule, ...]
    calm_from: float
    calm_to: float
    is_state: bool
    each: bool
    idle: bool


class Plans:
    """The rules of one set, looked up by device. by_name, versions: of each rule by its name. parents: names of rules
    that others depend on."""

    def __init__(self, rules: RuleSet) -> None:
        self._rules = rules.rules
        self.by_name = {rule.alert: rule for rule in rules.rules}
        self.versions = {rule.alert: rule.version for rule in rules.rules}
        self.group_rules = [rule for rule in rules.rules if rule.absent_for is not None and rule.absent_for.group]
        self.parents = {name for rule in rules.rules for name in rule.depends_on}
        # A chain has a few kinds of devices; only what some rule names tells two of a kind apart.
        named = [place for rule in rules.rules for place in (rule.select, *(item.where for item in rule.overrides))]
        self._apart = {word for word in ("store", "asset", "area", "device") if any(getattr(p, word) for p in named)}
        self._known: dict[str, dict[str, Plan]] = {}
        self._kinds: dict[tuple[str, ...], Plan] = {}

    def known(self, store_id: str) -> dict[str, Plan]:
        """Plans that were made of a store's devices, by device id: stores may call their devices the same."""
        known = self._known.get(store_id)
        if known is None:
            known = self._known[store_id] = {}
        return known

    def forget(self, store_id: str, device_id: str) -> None:
        """What a device is has changed, or it is gone."""
        self.known(store_id).pop(device_id, None)

    def of(self, state: Store, device_id: str, device: Device) -> Plan:
        apart = self._apart
        kind = (
            state.store_id if "store" in apart else "",
            device.asset_id if "asset" in apart else "",
            device.asset_class,
            device.metric,
            area_of(state, device.asset_id) if "area" in apart else "",
            device_id if "device" in apart else "",
            device.zone_kind,
        )
        plan = self._kinds.get(kind)
        if plan is None:
            plan = self._kinds[kind] = self._make(*kind)
        self.known(state.store_id)[device_id] = plan
        return plan

    def _make(self, store: str, asset: str, asset_class: str, metric: str, area: str, device: str, zone: str) -> Plan:
        fits = [r for r in self._rules if r.select.fits(store, asset, asset_class, metric, area, device, zone)]
        held = [rule.at(store, asset, asset_class, area, device) for rule in fits]
        mine = [rule for rule in held if rule is not None]
        all_judges = [judge_of(rule, self.versions[rule.alert]) for rule in mine if rule.limit is not None]
        judges = tuple(judge for judge in all_judges if judge.kind != "rate")
        rates = tuple(judge for judge in all_judges if judge.kind == "rate")
        above = [item.levels[0].limit for item in judges if item.sign > 0]
        below = [-item.levels[0].limit for item in judges if item.sign < 0]
        stuck = tuple(sorted((r for r in mine if r.stuck_for_ms is not None), key=lambda r: r.stuck_for_ms))
        absent = [rule for rule in mine if rule.absent_for is not None]
        is_state = metric in STATE_METRICS
        return Plan(
            judges=judges,
            rates=rates,
            stuck=stuck,
            bad=tuple(rule for rule in mine if rule.bad_for_ms is not None),
            absences=tuple(rule for rule in absent if not rule.absent_for.group),
            groups=tuple(self.by_name[rule.alert] for rule in absent if rule.absent_for.group),
            calm_from=max(below, default=float("-inf")),
            calm_to=min(above, default=float("inf")),
            is_state=is_state,
            each=bool(rates or stuck),
            idle=not mine and not is_state,
        )

    def members(self, state: Store, rule: Rule) -> dict[str, list[str]]:
        """Devices by the place whose common silence the rule is about."""
        found: dict[str, list[str]] = {}
        known = self.known(state.store_id)
        for device_id, device in state.devices.items():
            if device.interval_s:
                plan = known.get(device_id) or self.of(state, device_id, device)
                if rule in plan.groups:
                    found.setdefault(self.place(state, rule, device), []).append(device_id)
        return found

    @staticmethod
    def group_after_ms(state: Store, rule: Rule, members: list[str]) -> int:
        """How long none of the group is heard before it is told: reports count by its most frequent device."""
        return rule.absent_for.after_ms(min(state.devices[device_id].interval_s for device_id in members))

    def place(self, state: Store, rule: Rule, device: Device) -> str:
        """What one alert of a group rule is about: the store, or an area of it."""
        if rule.absent_for.group == "store":
            return state.store_id
        return f"{state.store_id}:{slug(area_of(state, device.asset_id))}"


def area_of(state: Store, asset_id: str) -> str:
    asset = state.assets.get(asset_id)
    return asset.area if asset is not None else ""
