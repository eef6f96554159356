-- A status table as it was at revision 0002, whose view later migrations must keep answering as version_1.json says.
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE debris (
	id INTEGER NOT NULL, 
	video_id BIGINT NOT NULL, 
	token TEXT NOT NULL, 
	since VARCHAR(27) NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(video_id) REFERENCES videos (id)
);
CREATE TABLE events (
	id INTEGER NOT NULL, 
	at VARCHAR(27) NOT NULL, 
	video_id BIGINT NOT NULL, 
	step TEXT, 
	what TEXT NOT NULL, 
	detail JSON, 
	PRIMARY KEY (id), 
	FOREIGN KEY(video_id) REFERENCES videos (id)
);
CREATE TABLE outputs (
	id INTEGER NOT NULL, 
	video_id BIGINT NOT NULL, 
	kind TEXT NOT NULL, 
	ordinal INTEGER NOT NULL, 
	rung INTEGER, 
	bucket TEXT NOT NULL, 
	name TEXT NOT NULL, 
	file_id TEXT NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	sha1 TEXT NOT NULL, 
	content_type TEXT NOT NULL, 
	width INTEGER, 
	height INTEGER, 
	duration_seconds DOUBLE, 
	frames INTEGER, 
	byte_ranges JSON, 
	published_at VARCHAR(27) NOT NULL, 
	obsolete_at VARCHAR(27), run INTEGER DEFAULT '1' NOT NULL, token TEXT, 
	PRIMARY KEY (id), 
	CONSTRAINT outputs_identity UNIQUE (bucket, file_id), 
	FOREIGN KEY(video_id) REFERENCES videos (id)
);
INSERT INTO "outputs" VALUES(1,1,'video_part',0,NULL,'films','transcoded/a/done.mov/parts/v720.mp4','4_zb1_o001',10,'da39a3ee5e6b4b0d3255bfef95601890afd80709','x/y',NULL,NULL,NULL,NULL,NULL,'2026-03-01T12:00:30.030030Z',NULL,1,'t');
INSERT INTO "outputs" VALUES(2,1,'playlist',0,NULL,'films','transcoded/a/done.mov/v720.m3u8','4_zb1_o002',10,'da39a3ee5e6b4b0d3255bfef95601890afd80709','x/y',NULL,NULL,NULL,NULL,NULL,'2026-03-01T12:00:30.030030Z',NULL,1,'t');
INSERT INTO "outputs" VALUES(3,1,'hls',0,NULL,'films','transcoded/a/done.mov/master.m3u8','4_zb1_o003',10,'da39a3ee5e6b4b0d3255bfef95601890afd80709','x/y',NULL,NULL,NULL,NULL,NULL,'2026-03-01T12:00:30.030030Z',NULL,1,'t');
INSERT INTO "outputs" VALUES(4,1,'mp4',0,NULL,'films','transcoded/a/done.mov/video.mp4','4_zb1_o004',10,'da39a3ee5e6b4b0d3255bfef95601890afd80709','x/y',NULL,NULL,NULL,NULL,NULL,'2026-03-01T12:00:30.030030Z',NULL,1,'t');
INSERT INTO "outputs" VALUES(5,1,'poster',0,NULL,'films','transcoded/a/done.mov/poster.jpg','4_zb1_o005',10,'da39a3ee5e6b4b0d3255bfef95601890afd80709','x/y',NULL,NULL,NULL,NULL,NULL,'2026-03-01T12:00:30.030030Z',NULL,1,'t');
INSERT INTO "outputs" VALUES(6,1,'storyboard',0,NULL,'films','transcoded/a/done.mov/storyboard.vtt','4_zb1_o006',10,'da39a3ee5e6b4b0d3255bfef95601890afd80709','x/y',NULL,NULL,NULL,NULL,NULL,'2026-03-01T12:00:30.030030Z',NULL,1,'t');
INSERT INTO "outputs" VALUES(7,1,'hls',0,NULL,'films','transcoded/a/done.mov/older.m3u8','4_zb1_o007',10,'da39a3ee5e6b4b0d3255bfef95601890afd80709','x/y',NULL,NULL,NULL,NULL,NULL,'2026-03-01T12:00:30.030030Z','2026-03-01T12:00:20.020020Z',1,'t');
INSERT INTO "outputs" VALUES(8,2,'hls',0,NULL,'films','transcoded/a/growing.mov/master.m3u8','4_zb1_o008',10,'da39a3ee5e6b4b0d3255bfef95601890afd80709','x/y',NULL,NULL,NULL,NULL,NULL,'2026-03-01T12:00:30.030030Z',NULL,1,'t');
INSERT INTO "outputs" VALUES(9,8,'hls',0,NULL,'films','transcoded/a/twice.mov/master.m3u8','4_zb1_o009',10,'da39a3ee5e6b4b0d3255bfef95601890afd80709','x/y',NULL,NULL,NULL,NULL,NULL,'2026-03-01T12:00:30.030030Z','2026-03-01T12:00:40.040040Z',1,'t');
INSERT INTO "outputs" VALUES(10,8,'mp4',0,NULL,'films','transcoded/a/twice.mov/video.mp4','4_zb1_o010',10,'da39a3ee5e6b4b0d3255bfef95601890afd80709','x/y',NULL,NULL,NULL,NULL,NULL,'2026-03-01T12:00:30.030030Z','2026-03-01T12:00:40.040040Z',1,'t');
INSERT INTO "outputs" VALUES(11,9,'mp4',0,NULL,'films','transcoded/<script>/video.mp4','4_zb1_o011',10,'da39a3ee5e6b4b0d3255bfef95601890afd80709','x/y',NULL,NULL,NULL,NULL,NULL,'2026-03-01T12:00:30.030030Z',NULL,1,'t');
INSERT INTO "outputs" VALUES(12,9,'poster',0,NULL,'films','transcoded/<script>/poster.jpg','4_zb1_o012',10,'da39a3ee5e6b4b0d3255bfef95601890afd80709','x/y',NULL,NULL,NULL,NULL,NULL,'2026-03-01T12:00:30.030030Z',NULL,1,'t');
CREATE TABLE quarantine (
	bucket_id TEXT NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	file_id TEXT, 
	name TEXT, 
	raw TEXT NOT NULL, 
	why TEXT NOT NULL, 
	seen_at VARCHAR(27) NOT NULL, 
	PRIMARY KEY (bucket_id, digest)
);
CREATE TABLE scans (
	bucket_id TEXT NOT NULL, 
	prefix TEXT NOT NULL, 
	sweep INTEGER NOT NULL, 
	cursor TEXT, 
	swept_at VARCHAR(27), 
	seen BIGINT NOT NULL, 
	objects BIGINT, 
	PRIMARY KEY (bucket_id, prefix)
);
CREATE TABLE steps (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	video_id BIGINT NOT NULL, 
	kind TEXT NOT NULL, 
	ordinal INTEGER NOT NULL, 
	stage INTEGER NOT NULL, 
	status TEXT NOT NULL, 
	weight DOUBLE NOT NULL, 
	progress DOUBLE NOT NULL, 
	due_at VARCHAR(27) NOT NULL, 
	run_after VARCHAR(27) NOT NULL, 
	attempts INTEGER NOT NULL, 
	outages INTEGER NOT NULL, 
	token TEXT, 
	lease_until VARCHAR(27), 
	worker TEXT, 
	error_code TEXT, 
	error TEXT, 
	started_at VARCHAR(27), 
	finished_at VARCHAR(27), 
	CONSTRAINT steps_identity UNIQUE (video_id, kind, ordinal), 
	FOREIGN KEY(video_id) REFERENCES videos (id)
);
CREATE TABLE transactions (
	day VARCHAR(10) NOT NULL, 
	transaction_class VARCHAR(1) NOT NULL, 
	count BIGINT NOT NULL, 
	PRIMARY KEY (day, transaction_class)
);
CREATE TABLE videos (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	bucket_id TEXT NOT NULL, 
	bucket TEXT NOT NULL, 
	file_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	content_type TEXT NOT NULL, 
	content_sha1 TEXT, 
	uploaded_at VARCHAR(27) NOT NULL, 
	status TEXT NOT NULL, 
	reason TEXT, 
	error_code TEXT, 
	error TEXT, 
	hint TEXT, 
	progress DOUBLE NOT NULL, 
	discovered_at VARCHAR(27) NOT NULL, 
	started_at VARCHAR(27), 
	playable_at VARCHAR(27), 
	completed_at VARCHAR(27), 
	updated_at VARCHAR(27) NOT NULL, 
	duration_seconds DOUBLE, 
	width INTEGER, 
	height INTEGER, 
	media JSON, 
	"plan" JSON, run INTEGER DEFAULT '1' NOT NULL, 
	CONSTRAINT videos_identity UNIQUE (bucket_id, file_id)
);
INSERT INTO "videos" VALUES(1,'b1','films','4_zb1_f001','a/done.mov',1000,'video/mp4',NULL,'2026-03-01T12:00:00.000000Z','completed',NULL,NULL,NULL,NULL,1.0,'2026-03-01T12:00:01.001001Z','2026-03-01T12:00:02.002002Z','2026-03-01T12:00:05.005005Z','2026-03-01T12:00:09.009009Z','2026-03-01T12:00:59.059059Z',12.5,1280,720,NULL,NULL,1);
INSERT INTO "videos" VALUES(2,'b1','films','4_zb1_f002','a/growing.mov',2000,'video/mp4',NULL,'2026-03-01T12:00:00.000000Z','running',NULL,NULL,NULL,NULL,0.375,'2026-03-01T12:00:02.002002Z','2026-03-01T12:00:03.003003Z','2026-03-01T12:00:06.006006Z',NULL,'2026-03-01T12:00:59.059059Z',60.0,NULL,NULL,NULL,NULL,1);
INSERT INTO "videos" VALUES(3,'b1','films','4_zb1_f003','a/starting.mov',3000,'video/mp4',NULL,'2026-03-01T12:00:00.000000Z','running',NULL,NULL,NULL,NULL,0.0,'2026-03-01T12:00:03.003003Z','2026-03-01T12:00:04.004004Z',NULL,NULL,'2026-03-01T12:00:59.059059Z',NULL,NULL,NULL,NULL,NULL,1);
INSERT INTO "videos" VALUES(4,'b1','films','4_zb1_f004','a/waiting.mov',4000,'video/mp4',NULL,'2026-03-01T12:00:00.000000Z','pending',NULL,NULL,NULL,NULL,0.0,'2026-03-01T12:00:04.004004Z',NULL,NULL,NULL,'2026-03-01T12:00:59.059059Z',NULL,NULL,NULL,NULL,NULL,1);
INSERT INTO "videos" VALUES(5,'b1','films','4_zb1_f005','a/broken.mov',5000,'video/mp4',NULL,'2026-03-01T12:00:00.000000Z','failed',NULL,'unreadable','no allowed demuxer can open the source','Upload it anew.',0.0,'2026-03-01T12:00:05.005005Z','2026-03-01T12:00:06.006006Z',NULL,NULL,'2026-03-01T12:00:59.059059Z',NULL,NULL,NULL,NULL,NULL,1);
INSERT INTO "videos" VALUES(6,'b1','films','4_zb1_f006','a/notes.txt',6000,'video/mp4',NULL,'2026-03-01T12:00:00.000000Z','skipped','not_a_video',NULL,NULL,NULL,0.02,'2026-03-01T12:00:06.006006Z','2026-03-01T12:00:07.007007Z',NULL,NULL,'2026-03-01T12:00:59.059059Z',NULL,NULL,NULL,NULL,NULL,1);
INSERT INTO "videos" VALUES(7,'b1','films','4_zb1_f007','a/gone.mov',7000,'video/mp4',NULL,'2026-03-01T12:00:00.000000Z','cancelled','source_deleted',NULL,NULL,NULL,0.0,'2026-03-01T12:00:07.007007Z',NULL,NULL,NULL,'2026-03-01T12:00:59.059059Z',NULL,NULL,NULL,NULL,NULL,1);
INSERT INTO "videos" VALUES(8,'b1','films','4_zb1_f008','a/twice.mov',8000,'video/mp4',NULL,'2026-03-01T12:00:00.000000Z','completed','superseded',NULL,NULL,NULL,1.0,'2026-03-01T12:00:08.008008Z','2026-03-01T12:00:09.009009Z','2026-03-01 12:00:10.010010','2026-03-01T12:00:11.011011Z','2026-03-01T12:00:59.059059Z',1.0,320,180,NULL,NULL,1);
INSERT INTO "videos" VALUES(9,'b1','films','4_zb1_f009','<script>alert(''1'')</script> ‮א 🎬 "%00" & ''x'';--.mov',1099511627776,'video/mp4',NULL,'2026-03-01T12:00:00.000000Z','completed',NULL,NULL,NULL,NULL,1.0,'2026-03-01T12:00:09.009009Z','2026-03-01T12:00:09.009009Z','2026-03-01T12:00:12.012012Z','2026-03-01T12:00:13.013013Z','2026-03-01T12:00:59.059059Z',0.04,2,2,NULL,NULL,1);
CREATE INDEX videos_name ON videos (bucket_id, name);
CREATE INDEX videos_status ON videos (status, id);
CREATE INDEX steps_due ON steps (status, due_at, id);
CREATE INDEX outputs_video ON outputs (video_id, kind);
CREATE INDEX outputs_obsolete ON outputs (obsolete_at);
CREATE INDEX events_video ON events (video_id, id);
CREATE VIEW video_status AS
SELECT v.id, v.file_id, v.bucket, v.name, v.size_bytes, v.status, v.reason, v.error_code, v.error, v.progress,
       v.discovered_at, v.playable_at, v.completed_at, v.duration_seconds, v.width, v.height,
       (SELECT max(o.name) FROM outputs o
        WHERE o.video_id = v.id AND o.kind = 'hls' AND o.obsolete_at IS NULL) AS hls,
       (SELECT max(o.name) FROM outputs o
        WHERE o.video_id = v.id AND o.kind = 'mp4' AND o.obsolete_at IS NULL) AS mp4,
       (SELECT max(o.name) FROM outputs o
        WHERE o.video_id = v.id AND o.kind = 'poster' AND o.obsolete_at IS NULL) AS poster,
       CAST(NULL AS TEXT) AS storyboard
FROM videos v;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('videos',9);
COMMIT;
