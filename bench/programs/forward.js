// Sends the entries of both forwarders to the sink, 1,000 (or PER_REQUEST) per request.
import { Agent, request as send } from 'undici';

const perRequest = Number(process.env.PER_REQUEST ?? 1000);
const sink = new Agent({ connections: 8 });

/**
 * @template T
 * @param {(entries: readonly T[]) => string | Uint8Array} toBody
 * @returns {(entries: readonly T[]) => void} takes what was accepted
 */
export function createForward(toBody) {
  /** @type {T[]} */
  let held = [];

  /** @param {readonly T[]} entries */
  async function forward(entries) {
    const { body } = await send(`${process.env.SINK_URL}/forwarded`, {
      method: 'POST',
      dispatcher: sink,
      headers: { 'content-type': 'application/json' },
      body: toBody(entries),
    });
    await body.dump();
  }

  /** Sends the rest once no entry has arrived for a while. */
  let idle = setTimeout(() => undefined, 0);
  function forwardRest() {
    if (held.length > 0) void forward(held);
    held = [];
  }

  return (entries) => {
    held.push(...entries);
    while (held.length >= perRequest) void forward(held.splice(0, perRequest));
    clearTimeout(idle);
    idle = setTimeout(forwardRest, 200);
  };
}
