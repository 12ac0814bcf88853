-- By new steps, and by new versions of their store.
select distinct alert_id
from {{ ref('stg_alert_events') }} as step
where {{ is_new('stg_alert_events', 'step') }}
    {{- ' and false' if refreshes() }}

{%- for fact, at in [('fct_alert_event', 'event_time_utc'), ('fct_alert', 'starts_at_utc')] %}
{%- set known = as_it_was(fact) %}
{%- if known and not refreshes() %}

union

select known.alert_id
from {{ known }} as known
inner join {{ ref('int_changed_version') }} as version
    on known.store_id = version.store_id
    and {{ near('version', 'known.' ~ at) }}
where version.dimension = 'store'
{%- endif %}
{%- endfor %}
