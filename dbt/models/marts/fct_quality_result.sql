select
    run_id,
    contract,
    expectation,
    checked_at_utc,
    cast(checked_at_utc as date) as business_date,
    cast(extract(hour from checked_at_utc) as integer) as local_hour,
    severity,
    is_met,
    rows_checked,
    rows_unexpected,
    observed,
    was_accepted
from {{ ref('stg_quality_results') }}
