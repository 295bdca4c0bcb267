// Starts Swagger UI with the mock's spec.

const spec = await (await fetch("/openapi.json")).json();
const { token } = document.querySelector("#swagger-ui").dataset; // empty if there is a state file
const target = (ref) => ref.slice(2).split("/").reduce((node, key) => node[key], spec);
const follow = (part) => (part.$ref ? target(part.$ref) : part);

// "Try it out" must send to this mock, never to the live services that the spec names for each path.
spec.servers = [{ url: location.origin, description: "This mock" }];
for (const item of Object.values(spec.paths)) {
  for (const level of [item, ...Object.values(item)]) delete level.servers;
  // A link to an operation opens it before Swagger UI resolves references: without this, the fields of these
  // parameters would lack their examples.
  item.parameters = (item.parameters ?? []).map(follow);
}

const ui = SwaggerUIBundle({
  dom_id: "#swagger-ui",
  spec,
  validatorUrl: null, // the default would send the spec to swagger.io
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  displayOperationId: true, // the documentation uses these names
  onComplete: () => token && ui.preauthorizeApiKey("AuthToken", token),
});
