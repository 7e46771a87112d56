import type { Draft } from '../../model/envelope.js';
import { payloadBytes } from '../claim-builder.js';
import type { AppendedEnvelope } from '../../model/store.js';
import type { KeyedFact } from './fact.js';
import { countFactRemovalBytes, countFactWriteBytes } from './facts.js';
import type { StagedInSlices } from './group-commit.js';
import type { JournalState } from './journal-state.js';
import { stageAppends } from './stage-appends.js';
import type { Totals } from './totals.js';

/** The envelopes and facts of one request, stored before the response, and keys of facts to remove. */
export type Intake = {
  readonly drafts: readonly Draft[];
  readonly facts: readonly KeyedFact[];
  readonly forgotten?: readonly Buffer[];
};

/** Stages the appends and facts of a group. The result has the appended envelopes of each request. */
export async function stageIntake(
  intakes: readonly Intake[],
  nextTotals: Totals,
  state: JournalState,
): Promise<StagedInSlices<readonly (readonly AppendedEnvelope[])[]>> {
  const stagedFacts = state.facts.stage(
    intakes.flatMap(({ facts }) => facts),
    intakes.flatMap(({ forgotten = [] }) => forgotten),
  );
  const appended = await stageAppends(
    intakes.map(({ drafts }) => drafts),
    nextTotals,
    state,
  );
  return {
    ...appended,
    writes: [...appended.writes, ...stagedFacts.writes],
    committed() {
      stagedFacts.committed();
      return appended.committed();
    },
  };
}

export const countDraftBytes = (drafts: readonly Draft[]): number =>
  drafts.reduce((sum, one) => sum + payloadBytes(one), 0);

export const countIntakeBytes = ({ drafts, facts, forgotten = [] }: Intake): number =>
  countDraftBytes(drafts) + countFactWriteBytes(facts) + countFactRemovalBytes(forgotten);
