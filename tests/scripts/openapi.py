"""Checks answers of a node against docs/openapi.json, with Debian's python3-jsonschema.

Arguments: the document, and a file with the answers: a list of objects with "operation" (its operationId), "status",
"type" (Content-Type) and "body" (text). Says what is wrong, and ends with 1 then.
"""

import json
import sys

from jsonschema import Draft202012Validator, RefResolver

document, answers = (json.load(open(path, encoding="utf-8")) for path in sys.argv[1:])
resolver = RefResolver.from_schema(document)
for schema in document["components"]["schemas"].values():
    Draft202012Validator.check_schema(schema)

operations = {
    operation["operationId"]: operation for path in document["paths"].values() for operation in path.values()
}
wrong = []
for answer in answers:
    name = f"{answer['operation']} {answer['status']}"
    responses = operations[answer["operation"]]["responses"]
    response = responses.get(str(answer["status"]), responses["default"])
    if "$ref" in response:
        response = resolver.resolve(response["$ref"])[1]
    content = response["content"].get(answer["type"])
    if content is None:
        wrong.append(f"{name}: {answer['type']} is not in the document")
        continue
    body = json.loads(answer["body"]) if "json" in answer["type"] else answer["body"]
    for error in Draft202012Validator(content["schema"], resolver=resolver).iter_errors(body):
        wrong.append(f"{name}: {error.json_path}: {error.message}")

print("\n".join(wrong))
sys.exit(bool(wrong))
