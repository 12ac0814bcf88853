-- By new steps; by what a geofence or a shopper's session newly says of them; by a new version of their store; and while
-- they are open, by how far their store's log has come.
{%- set known = as_it_was('fct_order') %}
{%- set nothing = ' and false' if refreshes() else '' %}
with told as (

    select distinct store_id, order_id
    from {{ ref('stg_orders') }} as step
    where {{ is_new('stg_orders', 'step') }} {{- nothing }}

),

crossed as (

    select distinct store_id, order_id, customer_id, vehicle_id
    from {{ ref('stg_geofence_events') }} as sight
    where {{ is_new('stg_geofence_events', 'sight') }} {{- nothing }}

),

scanned as (

    select distinct store_id, session_id
    from {{ ref('stg_scan_events') }} as scan
    where {{ is_new('stg_scan_events', 'scan') }} {{- nothing }}

)

select store_id, order_id
from told

{%- for whose in ['order_id', 'customer_id', 'vehicle_id'] %}

union

select step.store_id, step.order_id
from {{ ref('stg_orders') }} as step
inner join crossed on step.store_id = crossed.store_id and step.{{ whose }} = crossed.{{ whose }}
{%- endfor %}

union

select step.store_id, step.order_id
from {{ ref('stg_orders') }} as step
inner join scanned on step.store_id = scanned.store_id and step.session_id = scanned.session_id

{%- if known and not refreshes() %}

union

select known.store_id, known.order_id
from {{ known }} as known
inner join {{ ref('int_changed_version') }} as version
    on known.store_id = version.store_id
    and {{ near('version', 'known.event_time_utc') }}
where version.dimension = 'store'

union

select known.store_id, known.order_id
from {{ known }} as known
where
    known.handed_over_at_utc is null
    and known.cancelled_at_utc is null
    and known.store_id in (select store_id from told)
{%- endif %}
