/** One line of `klaviyo-relay check`. BAD: `start` would fail, or lose or misplace data. */
export type Finding = {
  readonly level: 'ok' | 'WARN' | 'BAD';
  readonly what: string;
  readonly detail: string;
};

const at =
  (level: Finding['level']) =>
  (what: string, detail: string): Finding => ({
    level,
    what,
    detail,
  });

export const ok = at('ok');
export const warn = at('WARN');
export const bad = at('BAD');
