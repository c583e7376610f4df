// Run by mongosh: makes the server `mongo` a replica set of one member, and the
// user that Muster is. What is there already stays as it is; the password is set.
const root = encodeURIComponent(process.env.MONGO_ROOT_PASSWORD);
const admin = connect(
  `mongodb://root:${root}@mongo:27017/admin?directConnection=true`,
);

try {
  admin.adminCommand({ replSetGetStatus: 1 });
} catch (error) {
  // NotYetInitialized.
  if (error.code !== 94) throw error;
  admin.adminCommand({
    replSetInitiate: { _id: "rs0", members: [{ _id: 0, host: "mongo:27017" }] },
  });
}
while (!admin.hello().isWritablePrimary) sleep(200);

const muster = {
  pwd: process.env.MONGO_PASSWORD,
  roles: [
    { role: "readWrite", db: "muster" },
    // Validators are changed by whoever administers a database.
    { role: "dbAdmin", db: "muster" },
  ],
};
if (admin.getUser("muster")) {
  admin.updateUser("muster", muster);
} else {
  admin.createUser({ user: "muster", ...muster });
}
