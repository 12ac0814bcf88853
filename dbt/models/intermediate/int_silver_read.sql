-- After everything that goes by it, so that a run that failed reads the same rows again.
-- depends_on: {{ ref('fct_alert') }}, {{ ref('fct_alert_event') }}, {{ ref('fct_basket') }}, {{ ref('fct_order') }}
-- depends_on: {{ ref('fct_queue_minute') }}
-- depends_on: {{ ref('fct_sale_line') }}, {{ ref('fct_sensor_hour') }}, {{ ref('fct_shelf_hour') }}
-- depends_on: {{ ref('fct_utility_hour') }}, {{ ref('fct_zone_traffic_hour') }}, {{ ref('int_cold_chain_hour') }}
-- depends_on: {{ ref('int_cold_chain_day') }}
-- depends_on: {{ ref('int_cold_chain_reading') }}, {{ ref('int_receipt_tender') }}, {{ ref('int_seen_key') }}
-- depends_on: {{ ref('int_store_span') }}
{{
    config(
        materialized='incremental',
        incremental_strategy='touched',
        meta={'touched': [{'by': 'int_silver_batch', 'key': ['source', 'loaded_at', 'event_date']}]}
    )
}}
select source, loaded_at, event_date, row_count
from {{ ref('int_silver_batch') }}
where row_count > 0
