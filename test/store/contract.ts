import { describe } from 'vitest';
import { describeAppend } from './contract/append.js';
import { describeBury } from './contract/dead-letter-at-intake.js';
import { describeClaim } from './contract/claim.js';
import { describeDeadLetters } from './contract/dead-letters.js';
import { describeDeliveryLog } from './contract/delivery-log.js';
import { describeExactUpdates } from './contract/exact-updates.js';
import { describeErasure, describeErasureProperty } from './contract/erasure.js';
import { describeFacts } from './contract/facts.js';
import { type OpenStore, useStores } from './contract/harness.js';
import { describeKeys } from './contract/keys.js';
import { describeModel } from './contract/model.js';
import { describePersonOrder, describePersonOrderProperty } from './contract/person-order.js';
import { describeReceipts } from './contract/receipts.js';
import { describeRefusal } from './contract/backpressure.js';
import { describeSettle } from './contract/settle.js';

export type ContractOptions = {
  /** Random sequences the model test tries. Fewer for a store that is slow to open. */
  readonly modelRuns?: number;
};

/** The one law of all stores: a backend's test file is a call of this, and what is special to it. */
export function describeStore(
  name: string,
  openStore: OpenStore,
  { modelRuns = 200 }: ContractOptions = {},
): void {
  describe(`the ${name} store`, () => {
    const open = useStores(openStore);
    describeAppend(open);
    describeRefusal(open);
    describeBury(open);
    describeClaim(open);
    describeKeys(open);
    describePersonOrder(open);
    describePersonOrderProperty(openStore, modelRuns);
    describeExactUpdates(openStore, modelRuns);
    describeErasure(open);
    describeErasureProperty(openStore, modelRuns);
    describeSettle(open);
    describeReceipts(open);
    describeDeliveryLog(open);
    describeDeadLetters(open);
    describeFacts(open);
    describeModel(openStore, modelRuns);
  });
}
