{%- set instants = ['placed', 'picking_started', 'ready', 'on_the_way', 'arrived', 'handed_over', 'cancelled'] -%}
{%- set visit_minutes = var('curbside_visit_minutes') -%}
{%- set line_events = "('item_picked', 'item_substituted', 'item_short')" -%}
{%- set touched = [{'by': 'int_touched_order', 'key': ['store_id', 'order_id']}] -%}
{%- set kept = {
    'at': 'event_time_utc',
    'from': ['stg_orders', 'stg_geofence_events', 'stg_scan_events'],
    'persons': ['customer_id', 'session_id'],
} -%}
{{ config(materialized='incremental', incremental_strategy='touched', meta={'touched': touched, 'kept': kept}) }}
with steps as (

    select
        *,
        row_number() over (partition by store_id, order_id, event order by event_time_utc, arrived_at_utc, event_id)
            as oldest,
        row_number() over (
            partition by store_id, order_id, event order by event_time_utc desc, arrived_at_utc desc, event_id desc
        ) as newest,
        {{ major_units('total_minor', 'currency') }} as total
    from {{ ref('stg_orders') }} as step
    where {{ is_touched(touched, 'step') }}

),

summed as (

    select
        store_id,
        order_id,
        -- A step that is told twice began with the first; what was ordered is what was said last.
        {%- for event in instants %}
        min(case when event = '{{ event }}' then event_time_utc end) as {{ event }}_at_utc,
        {%- endfor %}
        min(event_time_utc) as first_step_utc,
        max(case when event <> 'cancelled' then event_time_utc end) as last_step_but_cancelled_utc,
        max(case when event = 'placed' and newest = 1 then channel end) as channel,
        max(case when event = 'placed' and newest = 1 then window_from_utc end) as window_from_utc,
        max(case when event = 'placed' and newest = 1 then window_until_utc end) as window_until_utc,
        max(case when event = 'placed' and newest = 1 then lines end) as lines_ordered,
        max(case when event = 'placed' and newest = 1 then total end) as total_ordered,
        max(case when event = 'on_the_way' and newest = 1 then expected_at_utc end) as expected_at_utc,
        max(case when event = 'handed_over' and oldest = 1 then total end) as total_paid,
        max(case when event = 'handed_over' and oldest = 1 then transaction_id end) as transaction_id,
        max(case when event = 'cancelled' and oldest = 1 then cancelled_by end) as cancelled_by,
        max(customer_id) as customer_id,
        max(vehicle_id) as vehicle_id,
        max(session_id) as session_id,
        max(currency) as currency,
        count(distinct case when event in {{ line_events }} then line_no end) as lines_told,
        count(distinct case when event = 'item_picked' then line_no end) as lines_picked,
        count(distinct case when event = 'item_substituted' then line_no end) as lines_substituted,
        count(distinct case when event = 'item_short' then line_no end) as lines_short,
        sum(case when oldest > 1 and event not in {{ line_events }} then 1 else 0 end) as repeated_steps
    from steps
    group by store_id, order_id

),

-- How far the log has come in each store, by the log's clock: what should have been told by then and was not, is late.
logged as (

    select store_id, max(arrived_at_utc) as logged_until_utc
    from {{ ref('stg_orders') }}
    group by store_id

),

-- On the store's ground; the ways to it are not there yet.
crossed as (

    select store_id, order_id, customer_id, vehicle_id, event_time_utc
    from {{ ref('stg_geofence_events') }}
    where event = 'arrived' and coalesce(zone_kind, '') <> 'approach'

),

seen as (

    select summed.store_id, summed.order_id, crossed.event_time_utc
    from summed
    inner join crossed on summed.store_id = crossed.store_id and summed.order_id = crossed.order_id
    where coalesce(crossed.event_time_utc >= summed.placed_at_utc, true)
        and coalesce(crossed.event_time_utc <= summed.handed_over_at_utc, true)

    -- Whoever was seen without an order's name comes for what they are given soon after.
    {%- for whose in ['customer_id', 'vehicle_id'] %}

    union all

    select summed.store_id, summed.order_id, crossed.event_time_utc
    from summed
    inner join crossed on summed.store_id = crossed.store_id and summed.{{ whose }} = crossed.{{ whose }}
    where crossed.order_id is null
        and coalesce(crossed.event_time_utc >= summed.placed_at_utc, true)
        and crossed.event_time_utc <= summed.handed_over_at_utc
        and {{ dbt.dateadd('minute', visit_minutes, 'crossed.event_time_utc') }} >= summed.handed_over_at_utc
    {%- endfor %}

),

fenced as (

    select store_id, order_id, min(event_time_utc) as seen_at_utc
    from seen
    group by store_id, order_id

),

scans as (

    select
        *,
        row_number() over (partition by store_id, session_id, event order by event_time_utc, event_id) as oldest,
        row_number() over (partition by store_id, session_id, event order by event_time_utc desc, event_id desc) as newest
    from {{ ref('stg_scan_events') }} as scan
    {%- if goes_on() %}
    where exists (
        select 1
        from steps
        where steps.store_id = scan.store_id and steps.session_id = scan.session_id
    )
    {%- endif %}

),

sessions as (

    select
        store_id,
        session_id,
        max(case when event = 'flagged' then 1 else 0 end) as flags,
        max(case when event = 'flagged' and oldest = 1 then flag_reason end) as flag_reason,
        max(case when event = 'checked' and newest = 1 then check_result end) as check_result,
        max(case when event = 'checked' and newest = 1 then pieces_missed end) as pieces_missed
    from scans
    group by store_id, session_id

),

orders as (

    select
        summed.*,
        coalesce(summed.placed_at_utc, summed.first_step_utc) as event_time_utc,
        fenced.seen_at_utc,
        case
            when fenced.seen_at_utc < summed.arrived_at_utc or summed.arrived_at_utc is null then fenced.seen_at_utc
            else summed.arrived_at_utc
        end as customer_there_at_utc,
        -- An order whose placing was lost was for pickup, unless it names a shopper's session.
        coalesce(summed.channel, case when summed.session_id is null then 'curbside' else 'scan_and_go' end) = 'curbside'
            as is_for_pickup,
        logged.logged_until_utc,
        sessions.session_id is not null as has_session,
        sessions.flags,
        sessions.flag_reason,
        sessions.check_result,
        sessions.pieces_missed
    from summed
    inner join logged on summed.store_id = logged.store_id
    left join fenced on summed.store_id = fenced.store_id and summed.order_id = fenced.order_id
    left join sessions on summed.store_id = sessions.store_id and summed.session_id = sessions.session_id

)

select
    orders.store_id,
    orders.order_id,
    orders.event_time_utc,
    {{ business_time('orders.event_time_utc', 'store.time_zone') }},
    orders.channel,
    orders.customer_id,
    case
        when orders.handed_over_at_utc is not null
            and coalesce(orders.handed_over_at_utc >= orders.cancelled_at_utc, true) then 'handed_over'
        when orders.cancelled_at_utc is not null then 'cancelled'
        when orders.ready_at_utc is not null then 'ready'
        when orders.picking_started_at_utc is not null or orders.lines_told > 0 then 'picking'
        else 'placed'
    end as status,
    {%- for event in instants %}
    orders.{{ event }}_at_utc,
    {%- endfor %}
    orders.expected_at_utc,
    orders.seen_at_utc,
    orders.window_from_utc,
    orders.window_until_utc,
    case
        when orders.ready_at_utc is not null then orders.ready_at_utc <= orders.window_from_utc
        -- What was handed over was ready; if that was later than promised, nobody knows since when.
        when orders.handed_over_at_utc <= orders.window_from_utc then true
        when orders.handed_over_at_utc is not null then null
        when coalesce(orders.cancelled_at_utc, orders.logged_until_utc) > orders.window_from_utc then false
    end as was_ready_in_time,
    case
        when orders.handed_over_at_utc is not null then orders.handed_over_at_utc <= orders.window_until_utc
        when orders.cancelled_at_utc is null and orders.logged_until_utc > orders.window_until_utc then false
    end as was_handed_over_in_time,
    case
        when orders.is_for_pickup and orders.customer_there_at_utc <= orders.handed_over_at_utc
            then {{ minutes(seconds_between('orders.customer_there_at_utc', 'orders.handed_over_at_utc')) }}
    end as minutes_waited,
    cast(orders.lines_ordered as bigint) as lines_ordered,
    cast(orders.lines_picked as bigint) as lines_picked,
    cast(orders.lines_substituted as bigint) as lines_substituted,
    cast(orders.lines_short as bigint) as lines_short,
    orders.currency,
    orders.total_ordered,
    orders.total_paid,
    orders.transaction_id,
    orders.cancelled_by,
    orders.session_id,
    case when orders.has_session then orders.flags > 0 end as was_flagged,
    orders.flag_reason,
    orders.check_result,
    cast(orders.pieces_missed as bigint) as pieces_missed,
    nullif(
        substring(
            case when orders.placed_at_utc is null then ', placed' else '' end
            || case
                when orders.is_for_pickup and orders.picking_started_at_utc is null
                    and coalesce(orders.ready_at_utc, orders.handed_over_at_utc) is not null then ', picking_started'
                else ''
            end
            || case
                when orders.is_for_pickup and orders.ready_at_utc is null
                    and orders.handed_over_at_utc is not null then ', ready'
                else ''
            end
            || case
                when orders.is_for_pickup and orders.customer_there_at_utc is null
                    and orders.handed_over_at_utc is not null then ', arrived'
                else ''
            end,
            3
        ),
        ''
    ) as missing_steps,
    coalesce(orders.first_step_utc < orders.placed_at_utc, false)
        or coalesce(orders.ready_at_utc < orders.picking_started_at_utc, false)
        or coalesce(orders.handed_over_at_utc < orders.picking_started_at_utc, false)
        or coalesce(orders.handed_over_at_utc < orders.ready_at_utc, false)
        or coalesce(orders.handed_over_at_utc < orders.arrived_at_utc, false)
        or coalesce(orders.handed_over_at_utc < orders.on_the_way_at_utc, false)
        or coalesce(orders.arrived_at_utc < orders.on_the_way_at_utc, false)
        or coalesce(orders.cancelled_at_utc < orders.last_step_but_cancelled_utc, false)
        or (orders.cancelled_at_utc is not null and orders.handed_over_at_utc is not null) as has_odd_order,
    cast(orders.repeated_steps as bigint) as repeated_steps
from orders
left join {{ ref('dim_store') }} as store
    on orders.store_id = store.store_id
    and {{ valid_at('store', 'orders.event_time_utc') }}
