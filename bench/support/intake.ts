import { post, type Loaded } from './load.js';
import type { Program } from './program.js';

export type IntakeOptions = {
  readonly warmUpSeconds: number;
  readonly seconds: number;
  readonly delayMs?: number;
};

/** Single events to a fresh program that is warmed up first. */
export async function measureIntake(
  start: () => Promise<Program>,
  { warmUpSeconds, seconds, delayMs = 0 }: IntakeOptions,
): Promise<Loaded> {
  const program = await start();
  try {
    await post(program, { kind: 'event', seconds: warmUpSeconds });
    return await post(program, { kind: 'event', seconds, delayMs });
  } finally {
    await program.stop();
  }
}
