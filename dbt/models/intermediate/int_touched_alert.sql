-- By new steps, and by new versions of their store.
select distinct alert_id
from {{ ref('stg_alert_events') }} as step
where {{ is_new('stg_alert_events', 'step') }}
    {{- ' and false' if refreshes() }}

{%- set known = as_it_was('fct_alert_event') %}
{%- if known and not refreshes() %}

union

select known.alert_id
from {{ known }} as known
inner join {{ ref('int_changed_version') }} as version
    on known.store_id = version.store_id
    and {{ near('version', 'known.event_time_utc') }}
where version.dimension = 'store'
{%- endif %}
