-- What looks back into the day before would be made of half of what it was made of, so the first day that is kept is
-- left as it is, too.
with kept as (

    {%- for source, table in silver_tables().items() %}
    select
        '{{ source }}' as source,
        coalesce(max(kept_from), cast('1900-01-01' as date)) as kept_from
    from {{ ref('stg_expiries') }}
    where contract = '{{ table | replace("_", "-") }}'
    {{ 'union all' if not loop.last }}
    {%- endfor %}

)

select
    source,
    kept_from,
    {{ instant(dbt.dateadd('day', 1, 'kept_from')) }} as whole_from_utc
from kept
