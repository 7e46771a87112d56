/** What the user has to put right: the input, an option or a file beside it. `message` is shown as it is. */
export class ImportError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ImportError';
  }
}

/** The input cannot be read to its end: what comes before the damage is imported. */
export class DamagedInput extends ImportError {}
