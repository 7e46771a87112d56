import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { watch } from 'node:fs';
import { Socket } from 'node:net';

/** Events by which a kill is timed, in place of a clock. */
export const moments = ['acknowledged', 'arrived', 'answered', 'written'] as const;
export type Moment = (typeof moments)[number];

/**
 * Counts events around a relay: a post was acknowledged, a request arrived at the sandbox, the sandbox
 * answered, the journal file was written.
 */
export type Moments = {
  record(moment: Moment): void;
  /** Resolves when the moment has occurred `times` more times. */
  after(moment: Moment, times: number): Promise<void>;
  close(): void;
};

type Waiter = { readonly moment: Moment; left: number; readonly resolve: () => void };

export type Watched = { readonly sandboxPort: number; readonly dataDir: string };

export function watchMoments({ sandboxPort, dataDir }: Watched): Moments {
  const waiters = new Set<Waiter>();
  const note = (moment: Moment): void => {
    for (const waiter of waiters) {
      if (waiter.moment !== moment || --waiter.left > 0) continue;
      waiters.delete(waiter);
      waiter.resolve();
    }
  };
  const toListener = (moment: Moment) => (message: unknown) => {
    if (toPort(message) === sandboxPort) note(moment);
  };
  // Node's diagnostics channels report the sandbox's requests without a hook in it.
  const channels = [
    ['http.server.request.start', toListener('arrived')],
    ['http.server.response.finish', toListener('answered')],
  ] as const;
  for (const [name, listener] of channels) subscribe(name, listener);
  const watcher = watch(dataDir, (_event, file) => {
    if (file === 'journal.mdb') note('written');
  });
  return {
    record: note,
    after: (moment, times) =>
      new Promise((resolve) => waiters.add({ moment, left: Math.max(1, times), resolve })),
    close() {
      for (const [name, listener] of channels) unsubscribe(name, listener);
      watcher.close();
    },
  };
}

function toPort(message: unknown): number | undefined {
  const hasSocket = typeof message === 'object' && message !== null && 'socket' in message;
  return hasSocket && message.socket instanceof Socket ? message.socket.localPort : undefined;
}
