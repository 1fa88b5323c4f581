// What states are called on the page, and how they look: a level for the colour, a sign for the shape, a word.

const HEALTH = {
  up: { level: "good", sign: "●", word: "up" },
  down: { level: "bad", sign: "✖", word: "down" },
  unknown: { level: "dim", sign: "○", word: "unknown" },
};

/** A backend's health. */
export const health = (backend) => HEALTH[backend.health] ?? { level: "dim", sign: "○", word: backend.health };

/** Whatever else keeps a backend from serving its share, in words; the first one is the most important. */
export function conditions(backend) {
  const said = [];
  if (backend.leaving) said.push(backend.state === "disabled" ? "leaving, cut off" : "leaving");
  else if (backend.drained) said.push(backend.state === "disabled" ? "disabled" : "drained");
  else if (backend.state === "drain") said.push("draining");
  else if (backend.state !== "active") said.push(backend.state);
  if (backend.proxy?.ejected) said.push("set aside");
  if (backend.slow_start_tenths !== null) said.push(`starting, ${backend.slow_start_tenths * 10} %`);
  if (backend.weight === 0 && backend.state === "active") said.push("weight 0");
  if (backend.role !== "primary") said.push(backend.role);
  return said;
}

/** Is something wrong with a backend that nobody has asked for? */
export const isTroubled = (backend) =>
  backend.state === "active" && (backend.health === "down" || backend.next_hop_reason !== null || backend.proxy?.ejected);

/** A service as a whole. */
export function condition(service) {
  if (service.ready === 0) return { level: "bad", sign: "✖", word: "no backend" };
  if (!service.healthy) return { level: "bad", sign: "✖", word: "below quorum" };
  if (service.backends.some(isTroubled) || service.unresolved.length) return { level: "warn", sign: "▲", word: "degraded" };
  return { level: "good", sign: "●", word: "healthy" };
}

/** Is a change of its ring under way? */
export const isMoving = (service) => service.slot_states.moving + service.slot_states.settled > 0;

/** Flows of a backend that the node knows. */
export function flows(backend) {
  if (backend.nat) return backend.nat.opening + backend.nat.established + backend.nat.half_closed;
  return backend.proxy ? backend.proxy.active : backend.known_flows;
}
