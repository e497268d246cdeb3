-- A ledger of schema version 1, as `iterdump` writes it.
BEGIN TRANSACTION;
CREATE TABLE attempt (
        round INTEGER NOT NULL,
        stage TEXT NOT NULL,
        number INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        started_ms INTEGER NOT NULL,
        ended_ms INTEGER,
        outcome TEXT CHECK (outcome IN ('recorded', 'failed', 'lost', 'interrupted')),
        error TEXT,
        PRIMARY KEY (round, stage, number)
    ) WITHOUT ROWID
    ;
INSERT INTO "attempt" VALUES(1,'train',1,1,1795314332034,1795314332034,'recorded',NULL);
CREATE TABLE event (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        epoch INTEGER NOT NULL,
        kind TEXT NOT NULL,
        detail TEXT NOT NULL,
        at_ms INTEGER NOT NULL
    );
INSERT INTO "event" VALUES(1,1,'started','{"pid": 1}',1795314332026);
CREATE TABLE experiment (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        run_key TEXT NOT NULL,
        identity TEXT NOT NULL,
        dataset TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        epoch INTEGER NOT NULL
    );
INSERT INTO "experiment" VALUES(1,'v1-run','identity','dataset',1795314332022,1);
CREATE TABLE label (
        id TEXT PRIMARY KEY REFERENCES query (id),
        label INTEGER NOT NULL CHECK (label >= 0),
        source TEXT NOT NULL,
        answered_ms INTEGER NOT NULL
    ) WITHOUT ROWID
    ;
INSERT INTO "label" VALUES('a',1,'simulated',1795314332027);
INSERT INTO "label" VALUES('b',0,'simulated',1795314332027);
INSERT INTO "label" VALUES('c',1,'simulated',1795314332032);
CREATE TABLE outbox (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        payload TEXT NOT NULL,
        timestamp_ms INTEGER NOT NULL,
        sent_ms INTEGER
    );
INSERT INTO "outbox" VALUES(1,'metrics','{"metrics": {"test/accuracy": 0.5}, "step": 2}',1795314332028,NULL);
CREATE TABLE query (
        id TEXT PRIMARY KEY,
        round INTEGER NOT NULL,
        rank INTEGER NOT NULL,
        score REAL NOT NULL,
        UNIQUE (round, rank)
    ) WITHOUT ROWID
    ;
INSERT INTO "query" VALUES('a',0,1,0.25);
INSERT INTO "query" VALUES('b',0,0,0.5);
INSERT INTO "query" VALUES('c',1,0,0.1);
CREATE TABLE round (
        number INTEGER PRIMARY KEY CHECK (number >= 0),
        state TEXT NOT NULL
            CHECK (state IN ('open', 'trained', 'queried', 'labelled', 'closed')),
        opened_ms INTEGER NOT NULL
    );
INSERT INTO "round" VALUES(0,'closed',1795314332028);
INSERT INTO "round" VALUES(1,'trained',1795314332033);
CREATE TABLE stage (
        round INTEGER NOT NULL,
        name TEXT NOT NULL,
        result TEXT NOT NULL,
        seconds REAL NOT NULL,
        recorded_ms INTEGER NOT NULL,
        PRIMARY KEY (round, name)
    ) WITHOUT ROWID
    ;
INSERT INTO "stage" VALUES(0,'train','{"metrics": {"test/accuracy": 0.5}}',1.5,1795314332030);
INSERT INTO "stage" VALUES(1,'train','{"metrics": {"test/accuracy": 0.75}}',1.5,1795314332035);
CREATE INDEX outbox_unsent ON outbox (number) WHERE sent_ms IS NULL;
COMMIT;
PRAGMA user_version = 1;
