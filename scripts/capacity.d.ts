export type Cost = {
  readonly payloadBytes: number;
  readonly waitingBytes: number;
  readonly rememberedBytes: number;
  readonly appendMicros: number;
  readonly singleAppendMicros: number;
  readonly deliverMicros: number;
};

export type Measured = { readonly costs: readonly Cost[] };

export type Scenario = {
  readonly accounts: number;
  /** Events per second of each account. */
  readonly perSecond: number;
  /** How long Klaviyo is down while the relay accepts events. */
  readonly outageHours: number;
};

export function readMeasured(): Measured;
export function toNeeds(
  scenario: Scenario,
  cost: Cost,
): { readonly total: number; readonly threads: number; readonly gigabytes: number };
export function toCostTable(measured: Measured): string;
export function toModelTable(measured: Measured, all?: readonly Scenario[]): string;
