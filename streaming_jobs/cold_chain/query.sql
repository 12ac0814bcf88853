-- One row per store and half second: the store's events in log order, so that one call decides many.
-- `offset arrival-in-ms payload`, joined by U+001E (RFC 7464's record separator), so that one broken record stays alone.
-- The shape is fixed: rules are data and never change this query (savepoints depend on it).
SELECT
  k AS store_id,
  ARRAY_JOIN(
    ARRAY_AGG(
      CAST(o AS STRING) || ' '
      || CAST(EXTRACT(EPOCH FROM ts) * 1000 + EXTRACT(MILLISECOND FROM ts) AS STRING) || ' '
      || COALESCE(v, '')
    ),
    U&'\001E'
  ) AS batch
FROM TABLE(TUMBLE(TABLE source, DESCRIPTOR(pt), INTERVAL '0.5' SECOND))
GROUP BY k, window_start, window_end
