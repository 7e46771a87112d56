import type { Draft } from '../../model/envelope.js';
import { payloadBytes } from '../claim-builder.js';
import type { AppendedEnvelope } from '../../model/store.js';
import type { Keyed } from './fact.js';
import { toGroupBytes } from './facts.js';
import type { StagedInSlices } from './group-commit.js';
import type { StageDeps } from './stage-deps.js';
import { stageAppends } from './stage-appends.js';
import type { Totals } from './totals.js';

/** What one request wants to be kept before it is answered. */
export type Intake = { readonly drafts: readonly Draft[]; readonly facts: readonly Keyed[] };

/** All of a group in one; what was taken of the drafts of each. */
export async function stageIntake(
  intakes: readonly Intake[],
  draft: Totals,
  deps: StageDeps,
): Promise<StagedInSlices<readonly (readonly AppendedEnvelope[])[]>> {
  const known = deps.facts.stage(intakes.flatMap(({ facts }) => facts));
  const appended = await stageAppends(
    intakes.map(({ drafts }) => drafts),
    draft,
    deps,
  );
  return {
    ...appended,
    writes: [...appended.writes, ...known.writes],
    committed() {
      known.committed();
      return appended.committed();
    },
  };
}

export const toDraftBytes = (drafts: readonly Draft[]): number =>
  drafts.reduce((sum, one) => sum + payloadBytes(one), 0);

export const sizeOf = ({ drafts, facts }: Intake): number =>
  toDraftBytes(drafts) + toGroupBytes(facts);
