-- What the first version that was released has written: a grant in use, one that
-- was revoked, a call that waits for a person, a classified tool, what a quota
-- has counted, and the key of approvals. Times that matter are made not to end.

CREATE TABLE schema_version (version BIGINT PRIMARY KEY, applied_at BIGINT NOT NULL);
INSERT INTO schema_version (version, applied_at) VALUES (1, 1795647016859516);

INSERT INTO grants (id, token_digest, subject_id, subject_type, subject_groups, owner, servers, tools, labels, created_at, expires_at, revoked_at) VALUES
	('arYimtGn1FfKQT1a', '\x33ea804cefa54319eeed04a9fd263bf9f7564ec7671e8d50aa62a8256f5d9919', 'ada', 'agent', 'null', '', '["up"]', 'null', 'null', 1795647016931675, NULL, NULL),
	('Y6OVkAnT546bTcVy', '\x42e2cf69862f0ad5b0ced3a883ce43b443f2e46549556dd6e1e839db7422335c', 'bob', 'agent', 'null', '', '["up"]', 'null', 'null', 1795647016975225, NULL, 1795647017171636);

INSERT INTO approvals (id, binding, state, subject_id, subject_type, subject_groups, owner, grant_id, server, method, name, tool_class, tool_risk, arguments, arguments_digest, responses, responses_digest, definition_digest, masked, policy_revision, policy_digest, reason, rules, requirements, votes, valid_us, opened_by, used_by, created_at, expires_at, decided_at, used_at) VALUES
	('JYTAY5E5IQIZQPSXW5S7WBKEOB', '\xb0ce0862fbcc9d58890fd4e17c58bca1bc9176e67594e816362441afec943f2b', 'pending', 'ada', 'agent', 'null', '', 'arYimtGn1FfKQT1a', 'up', 'tools/call', 'ask', 'unknown', 'high', '\x7b2278223a317d', '\x5041bf1f713df204784353e82f6a4a535931cb64f1f4b4a5aeaffcb720918b22', NULL, '\xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', '\x0000000000000000000000000000000000000000000000000000000000000000', 'null', '', 'sha256:f7eaf35d599e2fed0fe3cd29bf7dd96f2202281d4da5ce548c2db791336e4a68', 'Needs a person.', '[{"Path":"policy.servers.up.approve","ID":"","File":"servers/up.rego","Line":12,"Title":"","Reason":"Needs a person."}]', '[{"Approvers":["operator"],"Required":1}]', 'null', 900000000, '01a214e7-10f3-7be3-93b9-bccd2f0f6f08', '', 1795647017203904, 4102444800000000, NULL, NULL);

UPDATE catalog_version SET version = 1;
INSERT INTO overrides (server, tool, class, traits) VALUES ('up', 'wipe', 'destructive', 'null');

INSERT INTO quota_counters (id, quota, per, terms, state, updated_at, expires_at) VALUES
	('7bljab6q4zxedkgxzpii5oue7bx3w4ga', 'calls', '{"subject":"ada"}', '{"limit":"3","window":"24h0m0s"}', '\x01cc80d1e9b4c8b006cc80d1e9b4c8b0068080bbdd83058080bbdd8305000300000001a6c0e8b49aa498030301', 1795647017199003, 1795737017197606),
	('qm5e4feak6yau2jn47b4y5ismoyfd4d4', 'total', '{"subject":"ada"}', '{"limit":"10","window":"24h0m0s"}', '\x01cc80d1e9b4c8b006cc80d1e9b4c8b0068080bbdd83058080bbdd8305000300000001a6c0e8b49aa498030304', 1795647017199003, 1795737017197606);
INSERT INTO quota_reservations (id, holds, expires_at) VALUES
	('01a214e7-10ed-793e-b297-f10a3fe26af2', '[{"counter":"7bljab6q4zxedkgxzpii5oue7bx3w4ga","epoch":1795647017197606,"at":1795647017197606,"amount":"1"},{"counter":"qm5e4feak6yau2jn47b4y5ismoyfd4d4","epoch":1795647017197606,"at":1795647017197606,"amount":"4"}]', 1795650617199003);

INSERT INTO secrets (name, value, created_at) VALUES ('approval-round', '\xd743f55becba1bca9e9432a4eb79503dbf988080b207ec0a8d672d12b2082e13', 1795647016867554);
INSERT INTO sign_in_links (digest, person, expires_at) VALUES ('\x790b9389ff774ce27b0178504bf817d925d0482daccc03881b0d8258d0e2e46c', '{"id":"operator","role":"admin","configured":true}', 1795647616888379);
