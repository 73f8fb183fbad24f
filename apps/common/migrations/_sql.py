"""SQL of the first migration that models cannot say."""

# Counter rows change with every log message: room on the page keeps their updates in place (HOT).
COUNTERS = """
ALTER TABLE common_topicsequence SET (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
ALTER TABLE common_lease SET (fillfactor = 10);
"""

APPEND_ONLY = """
CREATE FUNCTION common_audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only: % refused', TG_OP;
END $$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON common_auditentry
    FOR EACH ROW EXECUTE FUNCTION common_audit_append_only();
CREATE TRIGGER audit_not_emptied BEFORE TRUNCATE ON common_auditentry
    FOR EACH STATEMENT EXECUTE FUNCTION common_audit_append_only();
"""
APPEND_ONLY_UNDO = """
DROP TRIGGER audit_not_emptied ON common_auditentry;
DROP TRIGGER audit_append_only ON common_auditentry;
DROP FUNCTION common_audit_append_only();
"""
