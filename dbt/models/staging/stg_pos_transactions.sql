-- depends_on: {{ ref('int_silver_batch') }}
select
    event_id,
    {{ utc('event_time') }} as event_time_utc,
    {{ utc('arrived_at') }} as arrived_at_utc,
    {{ utc('loaded_at') }} as loaded_at_utc,
    loaded_at,
    {{ event_date() }} as event_date,
    store_id,
    transaction_id,
    kind,
    original_transaction_id,
    channel,
    lane_id,
    {{ pseudonym('customer_id', 'cust') }} as customer_id,
    currency,
    total as total_minor,
    lines,
    tenders
from {{ source('silver', 'pos_transactions') }}
