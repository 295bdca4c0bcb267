// Starts Swagger UI on the mock's own spec.

const spec = await (await fetch("/openapi.json")).json();
const { token } = document.querySelector("#swagger-ui").dataset; // empty if the mock's own will not do
const follow = (part) => (part.$ref ? part.$ref.slice(2).split("/").reduce((node, key) => node[key], spec) : part);

// "Try it out" must reach this mock and never the hosts of the live services, which the spec names for each path.
spec.servers = [{ url: location.origin, description: "This mock" }];
for (const item of Object.values(spec.paths)) {
  for (const level of [item, ...Object.values(item)]) delete level.servers; // so that the one above holds for all
  // A link straight to an operation opens it before Swagger UI follows the references of its path: the fields for
  // these parameters would then stay without their examples.
  item.parameters = (item.parameters ?? []).map(follow);
}

const ui = SwaggerUIBundle({
  dom_id: "#swagger-ui",
  spec,
  validatorUrl: null, // the default sends the spec to swagger.io
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  displayOperationId: true, // the names that the documentation uses
  onComplete: () => token && ui.preauthorizeApiKey("AuthToken", token),
});
