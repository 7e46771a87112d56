import type { Draft } from '../../envelope.js';
import { weight } from '../pick.js';
import type { Taken } from '../store.js';
import type { Keyed } from './fact.js';
import { toGroupBytes } from './facts.js';
import type { StagedInSlices } from './group-commit.js';
import type { StageDeps } from './parts.js';
import { stageAppends } from './stage-appends.js';
import type { Totals } from './totals.js';

/** What one request wants to be kept before it is answered. */
export type Intake = { readonly drafts: readonly Draft[]; readonly facts: readonly Keyed[] };

/** All of a group in one; what was taken of the drafts of each. */
export async function stageIntake(
  intakes: readonly Intake[],
  draft: Totals,
  deps: StageDeps,
): Promise<StagedInSlices<readonly (readonly Taken[])[]>> {
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
  drafts.reduce((sum, one) => sum + weight(one), 0);

export const sizeOf = ({ drafts, facts }: Intake): number =>
  toDraftBytes(drafts) + toGroupBytes(facts);
