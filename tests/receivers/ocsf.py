"""Reads OCSF events, one a line, and checks each against OCSF's own schema; prints what it found as JSON.

The schema is the one that the OCSF project publishes, turned into JSON Schema by the package `ocsf-json-schema`: unknown
attributes, missing required ones, wrong types and unknown values of enumerations are errors.
"""

import collections
import json
import sys

import jsonschema
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

schemas, validators = {}, {}
classes, problems = collections.Counter(), []
for number, line in enumerate(sys.stdin):
    event = json.loads(line)
    version, uid = event["metadata"]["version"], event["class_uid"]
    profiles = event["metadata"]["profiles"]
    if version not in schemas:
        schemas[version] = OcsfJsonSchemaEmbedded(get_ocsf_schema(version))
    schema = schemas[version]
    if uid not in validators:
        name = schema.lookup_class_name_from_uid(uid)
        validators[uid] = jsonschema.Draft202012Validator(schema.get_class_schema(name, profiles))
    for error in validators[uid].iter_errors(event):
        problems.append(f"line {number + 1}, class {uid}, {'/'.join(map(str, error.absolute_path))}: {error.message[:300]}")
    if event["type_uid"] != uid * 100 + event["activity_id"]:
        problems.append(f"line {number + 1}: type_uid")
    classes[str(uid)] += 1
print(json.dumps({"classes": classes, "problems": problems}))
