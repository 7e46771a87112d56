import type { Draft } from '../../envelope.js';
import { weight } from '../pick.js';
import type { Taken } from '../store.js';
import type { StagedInSlices } from './group-commit.js';
import type { Keyed } from './memo.js';
import { toGroupBytes } from './memos.js';
import type { StageDeps } from './parts.js';
import { stageAppends } from './stage-appends.js';
import type { Totals } from './totals.js';

/** What one request wants to be kept before it is answered. */
export type Intake = { readonly drafts: readonly Draft[]; readonly memos: readonly Keyed[] };

/** All of a group in one; what was taken of the drafts of each. */
export async function stageIntake(
  intakes: readonly Intake[],
  draft: Totals,
  deps: StageDeps,
): Promise<StagedInSlices<readonly (readonly Taken[])[]>> {
  const remembered = deps.memos.stage(intakes.flatMap(({ memos }) => memos));
  const appended = await stageAppends(
    intakes.map(({ drafts }) => drafts),
    draft,
    deps,
  );
  return {
    ...appended,
    writes: [...appended.writes, ...remembered.writes],
    committed() {
      remembered.committed();
      return appended.committed();
    },
  };
}

export const toDraftBytes = (drafts: readonly Draft[]): number =>
  drafts.reduce((sum, one) => sum + weight(one), 0);

export const sizeOf = ({ drafts, memos }: Intake): number =>
  toDraftBytes(drafts) + toGroupBytes(memos);
