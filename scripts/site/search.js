/* Names of options are what people look for: to the theme's search, --cache-from asks for pages without "cache".
   The separator in mkdocs.yml keeps them whole in the index; here questions get the form in which they are found. */
"use strict";
(() => {
  const QUERY = 2; // of the theme's kinds of messages to its search
  const post = Worker.prototype.postMessage;

  function asked(word) {
    const name = word.replace(/^-+(?=\w)/, "");
    // Two readers take one backslash each.
    const whole = name.replace(/-/g, "\\\\\\-");
    if (name !== word || !/^\w+(-\w+)+$/.test(word)) return whole;
    return `${whole}^9999 ${name.replace(/-/g, " ")}`;
  }

  Worker.prototype.postMessage = function (message, ...rest) {
    if (message && message.type === QUERY && typeof message.data === "string") {
      message = { ...message, data: message.data.trim().split(/\s+/).map(asked).join(" ") };
    }
    return post.call(this, message, ...rest);
  };
})();
