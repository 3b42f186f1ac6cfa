-- What the version before the root left in SQLite: alice's key was created with an Idempotency-Key at 1800000000, and the
-- process died while bob created dave with another one. `sqlite3.Connection.iterdump` wrote it.
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE change (
	id INTEGER NOT NULL, 
	operation TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	via TEXT, 
	action TEXT NOT NULL, 
	target TEXT, 
	key_id TEXT, 
	request_id TEXT, 
	requested JSON, 
	started_at FLOAT NOT NULL, 
	lock TEXT, 
	request_name TEXT, 
	fingerprint TEXT, 
	holder TEXT, 
	lease_until FLOAT, 
	outcome TEXT, 
	"before" JSON, 
	"after" JSON, 
	detail TEXT, 
	ended_at FLOAT, 
	PRIMARY KEY (id), 
	UNIQUE (operation)
);
INSERT INTO "change" VALUES(1,'operation-2','user:default/alice',NULL,'user.create','user:default/alice',NULL,'operation-1',NULL,1800000000.0,'user:default/alice',NULL,NULL,NULL,NULL,'done',NULL,NULL,NULL,1800000000.0);
INSERT INTO "change" VALUES(2,'operation-3','user:default/alice',NULL,'key.create','user:default/alice','ba2ad0f2136bc5efe8e2875af15486eb146ddecde5a423d4f253947a72a6ad58','operation-1','{"alias": "laptop"}',1800000000.0,'user:default/alice','e02250b5874d173fb482a64b3519f4b998c5893daff0ee9ce1b89989d6a6dedf','396fe60271f69aa067d3e35222634501597afb9fa5038ff5097dbe34cf9a7782',NULL,NULL,'done',NULL,NULL,NULL,1800000000.0);
INSERT INTO "change" VALUES(3,'operation-5','user:default/bob',NULL,'user.create','user:default/dave',NULL,'operation-4',NULL,1800000000.0,'user:default/dave','16eacc7e539d9850d6f517e5b7dc47b2b56ecdc48f8f441f2d7cf39c295c1441','2754b8dcad6b5c59b417fe52292aeb3ee4aff7dc234db0056721beb59804c35c','operation-5',1800000030.0,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE cleanup_run (
	id INTEGER NOT NULL, 
	"trigger" TEXT NOT NULL, 
	owner TEXT NOT NULL, 
	fence BIGINT, 
	started_at FLOAT NOT NULL, 
	finished_at FLOAT, 
	outcome TEXT NOT NULL, 
	plan_hash TEXT, 
	accepted_members INTEGER, 
	accepted_admins INTEGER, 
	report JSON, progress JSON, alive_at FLOAT, 
	PRIMARY KEY (id)
);
CREATE TABLE directory_sweep (
	number BIGINT NOT NULL, 
	position BIGINT NOT NULL, 
	tail JSON NOT NULL, 
	total BIGINT, 
	started_at FLOAT, 
	advanced_at FLOAT, 
	swept_at FLOAT, 
	PRIMARY KEY (number)
);
INSERT INTO "directory_sweep" VALUES(1,0,'[]',NULL,NULL,NULL,NULL);
CREATE TABLE directory_user (
	user_id TEXT NOT NULL, 
	searched TEXT NOT NULL, 
	is_over_budget BOOLEAN NOT NULL, 
	sweep BIGINT NOT NULL, 
	PRIMARY KEY (user_id)
);
INSERT INTO "directory_user" VALUES('user:default/alice','user:default/alice
alice
alice@example.com',0,1);
CREATE TABLE kept_answer (
	request_name TEXT NOT NULL, 
	fingerprint TEXT NOT NULL, 
	kept_at FLOAT NOT NULL, 
	resource_id TEXT NOT NULL, 
	sealed BLOB NOT NULL, 
	PRIMARY KEY (request_name)
);
INSERT INTO "kept_answer" VALUES('e02250b5874d173fb482a64b3519f4b998c5893daff0ee9ce1b89989d6a6dedf','396fe60271f69aa067d3e35222634501597afb9fa5038ff5097dbe34cf9a7782',1800000000.0,'ba2ad0f2136bc5efe8e2875af15486eb146ddecde5a423d4f253947a72a6ad58',X'6741414141414272434A45304434684A314C52654231716D4A4C4F6A514E374C794F65366D62776636496861314E5450596F6A3630327265794975566B6A742D3876326F5653305931546333725F6D384E6B563861474F46574B48673564473555364A7A78704437593068377748675A58314E532D4C696D57626232773239436F57766354626C747654695A544E43316D4A456D5476773449555F753644333044797945663371317A37503249686F70583165616A5A7138673554634649775A4C754F66624F7A5871316F764E7744583937714A4E4D4D625F3661716D744B687442525F504B52316139457165453352334D576154545A315446733575676F4A5F4F543671354D6B4D366C505047594F6D5577546B363854456565315649755362513D3D');
CREATE TABLE key_revocation (
	key_id TEXT NOT NULL, 
	user_id TEXT NOT NULL, 
	replaced_by TEXT NOT NULL, 
	revoke_at FLOAT NOT NULL, 
	next_attempt_at FLOAT NOT NULL, 
	attempts INTEGER NOT NULL, 
	PRIMARY KEY (key_id)
);
CREATE TABLE lease (
	name TEXT NOT NULL, 
	owner TEXT, 
	expires_at FLOAT NOT NULL, 
	fence BIGINT NOT NULL, 
	next_run_at FLOAT, 
	PRIMARY KEY (name)
);
INSERT INTO "lease" VALUES('cleanup',NULL,0.0,0,NULL);
CREATE TABLE offboarding (
	user_id TEXT NOT NULL, 
	since FLOAT NOT NULL, 
	confirmed BOOLEAN NOT NULL, 
	blocked_keys JSON NOT NULL, 
	PRIMARY KEY (user_id)
);
CREATE TABLE rate (
	name TEXT NOT NULL, 
	full_again_at FLOAT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "rate" VALUES('creates user:default/alice',1800000002.0);
INSERT INTO "rate" VALUES('creates user:default/bob',1800000002.0);
CREATE TABLE reported_key (
	key_id TEXT NOT NULL, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (key_id)
);
CREATE INDEX ix_cleanup_run_plan_hash ON cleanup_run (plan_hash);
CREATE UNIQUE INDEX ux_change_held_lock ON change (lock) WHERE holder IS NOT NULL;
CREATE INDEX ix_change_open_lock ON change (lock) WHERE outcome IS NULL;
CREATE UNIQUE INDEX ux_change_held_request_name ON change (request_name) WHERE holder IS NOT NULL;
CREATE INDEX ix_change_open_request_name ON change (request_name) WHERE outcome IS NULL;
CREATE INDEX ix_change_open ON change (id) WHERE outcome IS NULL;
CREATE TRIGGER change_is_append_only BEFORE UPDATE ON change FOR EACH ROW WHEN (OLD.outcome IS NOT NULL OR OLD.operation <> NEW.operation OR OLD.actor <> NEW.actor OR OLD.action <> NEW.action OR OLD.started_at <> NEW.started_at) BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE INDEX ix_kept_answer_kept_at ON kept_answer (kept_at);
CREATE INDEX ix_key_revocation_user_id ON key_revocation (user_id);
CREATE INDEX ix_key_revocation_next_attempt_at ON key_revocation (next_attempt_at);
CREATE INDEX ix_directory_user_over_budget ON directory_user (user_id) WHERE is_over_budget = 1;
CREATE INDEX ix_change_actor_time ON change (actor, started_at, id);
CREATE INDEX ix_change_target_time ON change (target, started_at, id);
CREATE INDEX ix_change_action_time ON change (action, started_at, id);
CREATE INDEX ix_change_actor_action_time ON change (actor, action, started_at, id);
CREATE INDEX ix_change_target_action_time ON change (target, action, started_at, id);
CREATE INDEX ix_change_time ON change (started_at, id);
COMMIT;
