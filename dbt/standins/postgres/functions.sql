-- What PostgreSQL lacks of Redshift and can be taught: functions, casts, and the system views that dbt-redshift asks.
-- Everything else of the stand-in is in macros beside this file.
set allow_system_table_mods = on;

create function public.convert_timezone(from_zone text, to_zone text, instant timestamp) returns timestamp
language sql stable return (instant at time zone from_zone) at time zone to_zone;

create function public.getdate() returns timestamp
language sql stable return now() at time zone 'UTC';

create function public.get_array_length(super jsonb) returns integer
language sql immutable return case when jsonb_typeof(super) = 'array' then jsonb_array_length(super) end;

create domain public.super as jsonb;

-- SUPER is jsonb here. A SUPER text cast to VARCHAR has no quotes; jsonb's own cast leaves them.
create function public.super_to_varchar(super jsonb) returns varchar
language sql immutable return super #>> '{}';

create cast (jsonb as varchar) with function public.super_to_varchar(jsonb);

create function public.super_to_date(super jsonb) returns date
language sql immutable return cast(super #>> '{}' as date);

create cast (jsonb as date) with function public.super_to_date(jsonb);

create function pg_catalog.pg_get_late_binding_view_cols() returns setof record
language sql as 'select null::name, null::name, null::name, null::varchar, null::int where false';

create view pg_catalog.svv_external_columns as
select
    null::text as schemaname,
    null::text as tablename,
    null::text as columnname,
    null::text as external_type,
    null::int as columnnum
where false;

create view pg_catalog.svv_table_info as
select null::text as "database", null::text as "schema", null::text as "table" where false;

grant select on pg_catalog.svv_external_columns, pg_catalog.svv_table_info to public;
